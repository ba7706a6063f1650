from django.db import models
from django.db.models.functions import Now


class IdempotentPost(models.Model):
    """A POST with an idempotency key, and its answer, NULL until it has been answered.

    `key_hash` is a hash of gateway and idempotency key, `content_hash` of all that was posted.
    """

    key_hash = models.UUIDField(primary_key=True)
    content_hash = models.UUIDField()
    began_at = models.DateTimeField(db_default=Now())
    status = models.SmallIntegerField(null=True)
    answer = models.JSONField(null=True)

    class Meta:
        default_permissions = ()
        indexes = (models.Index(fields=["began_at"], name="idempotent_by_began"),)

    def __str__(self) -> str:
        return str(self.key_hash)
