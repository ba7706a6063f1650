"""Products: what customers subscribe to."""

from django.core.exceptions import ValidationError
from django.db import models
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from revcred.markdown import render_markdown
from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.models.sources import Source
from revcred.texts import gettext_lazy


class Product(models.Model):
    """A product, which counts all calls or only those to its sources."""

    class CredentialIssuing(models.TextChoices):
        PROVIDER = "provider", gettext_lazy("Only the provider")
        REQUEST = "request", gettext_lazy("Subscribers on request, which somebody approves")
        SUBSCRIBER = "subscriber", gettext_lazy("Subscribers by themselves")

    name = models.CharField(max_length=MAX_NAME_CHARACTERS)
    version = models.CharField(max_length=50, blank=True)
    external_key = models.CharField(max_length=MAX_EXTERNAL_KEY_CHARACTERS, unique=True)
    # Of no use since there is no public list of products; dropped by a later release.
    published = models.BooleanField(default=True, editable=False)
    sources = models.ManyToManyField(
        Source,
        related_name="products",
        blank=True,
        help_text=gettext_lazy(
            "The APIs it counts. With sources, only calls to one of them count. A product that"
            " never had a source counts all calls."
        ),
    )
    also_without_source = models.BooleanField(
        gettext_lazy("also calls of no source"),
        default=False,
        help_text=gettext_lazy(
            "Also count calls that name no source and whose path belongs to none. Without"
            " this, a product with sources does not count them."
        ),
    )
    # A trigger sets it once the product has a source. It stays set when the last one goes, so that
    # the product then counts no calls instead of all, until somebody opens it.
    restricted = models.BooleanField(default=False, editable=False)
    credential_issuing = models.CharField(
        gettext_lazy("who issues credentials"),
        max_length=10,
        choices=CredentialIssuing,
        default=CredentialIssuing.PROVIDER,
        db_default=CredentialIssuing.PROVIDER,
        help_text=gettext_lazy(
            "Members and owners of a customer find this in the storefront; viewers do not."
        ),
    )
    credential_limit = models.PositiveIntegerField(
        gettext_lazy("most credentials of a customer"),
        null=True,
        blank=True,
        help_text=gettext_lazy(
            "Subscribers issue or request no more than these. Empty: as many as they want."
        ),
    )
    credential_max_days = models.PositiveIntegerField(
        gettext_lazy("longest lifetime of a credential, in days"),
        null=True,
        blank=True,
        help_text=gettext_lazy(
            "Subscribers have to choose an expiry within these days. Empty: none is needed."
        ),
    )

    description = models.TextField(
        max_length=10_000,
        blank=True,
        default="",
        db_default="",
        help_text=gettext_lazy(
            "Markdown. Subscribers read it where they choose the product or see it."
        ),
    )
    subscribers_rotate = models.BooleanField(
        gettext_lazy("subscribers rotate keys"), default=True, db_default=True
    )
    subscribers_suspend = models.BooleanField(
        gettext_lazy("subscribers suspend and resume credentials"), default=True, db_default=True
    )
    subscribers_revoke = models.BooleanField(
        gettext_lazy("subscribers revoke credentials"), default=True, db_default=True
    )
    subscribers_reveal = models.BooleanField(
        gettext_lazy("subscribers reveal keys and secrets"), default=True, db_default=True
    )

    class Meta:
        ordering = ("name", "version", "pk")

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()

    def clean(self) -> None:
        """Raise ValidationError if a subscriber could make a key and not see it."""
        makes_keys = (
            self.subscribers_rotate or self.credential_issuing != self.CredentialIssuing.PROVIDER
        )
        if makes_keys and not self.subscribers_reveal:
            message = gettext(
                "Whoever makes a new key has to see it: let subscribers reveal keys, or"
                " neither rotate them nor issue or request credentials."
            )
            raise ValidationError({"subscribers_reveal": message})

    @property
    def description_html(self) -> SafeString:
        return render_markdown(self.description)
