from django.db import models


class FormerName(models.Model):
    """A name that something had until it was renamed, under which calls may still arrive.

    PostgreSQL writes the rows itself, by triggers, so that every way to rename keeps them: see
    `docs/decisions/0051-names-have-a-memory.md`. A current name wins over a former one, and of
    former ones the last.
    """

    class Kind(models.TextChoices):
        """The fields that a call can name somebody or something by."""

        SUBSCRIPTION = "subscription", "external key of a subscription"
        SOURCE = "source", "external key of a source"
        CUSTOMER = "customer", "external key of a customer"
        CUSTOMER_NAME = "customer_name", "name of a customer"
        PRODUCT = "product", "external key of a product"
        PRODUCT_NAME = "product_name", "name of a product"
        SUBSCRIBER = "subscriber", "external key of a subscriber"
        SUBSCRIBER_EMAIL = "subscriber_email", "e-mail address of a subscriber"
        CREDENTIAL_NAME = "credential_name", "name of a credential"

    kind = models.CharField(max_length=20, choices=Kind, editable=False)
    target_id = models.BigIntegerField(editable=False)
    # In lower case where calls may write it in any.
    name = models.CharField(max_length=254, editable=False)
    former_since = models.DateTimeField(editable=False)
    # The moment from which another has the name, and which other. NULL: it counts still.
    counts_until = models.DateTimeField(null=True, editable=False)
    taken_by_id = models.BigIntegerField(null=True, editable=False)

    class Meta:
        default_permissions = ()
        ordering = ("-former_since", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=("kind", "name", "target_id"), name="formername_once_of_a_target"
            ),
        )
        indexes = (
            models.Index(fields=["kind", "target_id"], name="formername_by_target"),
            models.Index(
                fields=["kind", "taken_by_id"],
                condition=models.Q(taken_by_id__isnull=False),
                name="formername_by_taker",
            ),
        )

    def __str__(self) -> str:
        return self.name
