from django.db import models
from django.db.models.functions import Now


class IdempotentPost(models.Model):
    """A post that bears an idempotency key, and how it was answered once it has been.

    `mark` stands for gateway and key, `content` for all that was posted under it.
    """

    mark = models.UUIDField(primary_key=True)
    content = models.UUIDField()
    began_at = models.DateTimeField(db_default=Now())
    status = models.SmallIntegerField(null=True)
    answer = models.JSONField(null=True)

    class Meta:
        default_permissions = ()
        indexes = (models.Index(fields=["began_at"], name="idempotent_by_began"),)

    def __str__(self) -> str:
        return str(self.mark)
