"""Memory of former names, under which calls may still arrive."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from django.db import models

from revcred.texts import gettext_lazy

# As long as systems that customers move from allow (255 or 256), and as the audit shows whole.
MAX_NAME_CHARACTERS = 300
MAX_EXTERNAL_KEY_CHARACTERS = 200


class FormerNameQuerySet(models.QuerySet["FormerName"]):
    def holder(self, model: type[models.Model], name: str) -> models.QuerySet[Any]:
        """Return a query for the id of the last one that had the name and is still meant by it."""
        return self.of_name(model, name).filter(counts_until=None).values("target_id")[:1]

    def of_name(self, model: type[models.Model], name: str) -> Self:
        """Return the rows of this name, in any field by which calls may name the model."""
        meant = models.Q()
        for kind, in_any_case in FormerName.KINDS[model._meta.model_name or ""].values():
            meant |= models.Q(kind=kind, name=name.lower() if in_any_case else name)
        return self.filter(meant)


class FormerName(models.Model):
    """A name that something had until it was renamed, under which calls may still arrive.

    PostgreSQL writes the rows itself, by triggers, so that every way to rename keeps them: see
    `docs/decisions/0051-former-names-keep-counting.md`. A current name wins over a former one, and
    of former ones the last.
    """

    class Kind(models.TextChoices):
        """The fields that a call can name somebody or something by."""

        SUBSCRIPTION = "subscription", gettext_lazy("external key of a subscription")
        SOURCE = "source", gettext_lazy("external key of a source")
        CUSTOMER = "customer", gettext_lazy("external key of a customer")
        CUSTOMER_NAME = "customer_name", gettext_lazy("name of a customer")
        PRODUCT = "product", gettext_lazy("external key of a product")
        PRODUCT_NAME = "product_name", gettext_lazy("name of a product")
        SUBSCRIBER = "subscriber", gettext_lazy("external key of a subscriber")
        SUBSCRIBER_EMAIL = "subscriber_email", gettext_lazy("e-mail address of a subscriber")
        CREDENTIAL_NAME = "credential_name", gettext_lazy("name of a credential")

    kind = models.CharField(max_length=20, choices=Kind, editable=False)
    target_id = models.BigIntegerField(editable=False)
    # In lower case where calls may write it in any.
    name = models.CharField(max_length=MAX_NAME_CHARACTERS, editable=False)
    former_since = models.DateTimeField(editable=False)
    # The moment from which another has the name, and which other. NULL: it counts still.
    counts_until = models.DateTimeField(null=True, editable=False)
    taken_by_id = models.BigIntegerField(null=True, editable=False)

    objects = FormerNameQuerySet.as_manager()

    # By model and field, and whether calls may write it in any case.
    KINDS: ClassVar[Mapping[str, Mapping[str, tuple[Kind, bool]]]] = {
        "subscription": {"external_key": (Kind.SUBSCRIPTION, False)},
        "source": {"external_key": (Kind.SOURCE, False)},
        "customer": {
            "external_key": (Kind.CUSTOMER, False),
            "name": (Kind.CUSTOMER_NAME, True),
        },
        "product": {"external_key": (Kind.PRODUCT, False), "name": (Kind.PRODUCT_NAME, True)},
        "subscriber": {
            "external_key": (Kind.SUBSCRIBER, False),
            "email": (Kind.SUBSCRIBER_EMAIL, True),
        },
        "credential": {"name": (Kind.CREDENTIAL_NAME, True)},
    }

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
