"""Where the people of a customer may sign in: at their company's own OpenID Connect provider."""

from django.db import models
from django.utils import timezone

from revcred.crypto import SealedTextField, bind_to_place, unbind_from_place
from revcred.models.customers import Customer

MAX_ISSUER_CHARACTERS = 500
MAX_CLIENT_ID_CHARACTERS = 300


class CompanySignInQuerySet(models.QuerySet["CompanySignIn"]):
    def for_domain(self, domain: str) -> "list[CompanySignIn]":
        """Return those of customers whose mail domains include this one, in any letters."""
        found = self.select_related("customer").order_by("customer__name", "pk")
        # Few customers have one, and domains are kept as they were typed.
        return [company for company in found if domain.lower() in company.domains]


class CompanySignIn(models.Model):
    """The OpenID Connect provider of a customer, and our client there, whose secret is sealed."""

    customer = models.OneToOneField(Customer, models.CASCADE, related_name="company_sign_in")
    issuer = models.URLField(max_length=MAX_ISSUER_CHARACTERS)
    client_id = models.CharField(max_length=MAX_CLIENT_ID_CHARACTERS)
    client_secret: "models.Field[str, str]" = SealedTextField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CompanySignInQuerySet.as_manager()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.issuer

    @property
    def provider_id(self) -> str:
        """The name by which allauth knows it, in addresses and beside connected logins."""
        return f"company-{self.customer_id}"

    @property
    def domains(self) -> list[str]:
        """The customer's mail domains, in small letters."""
        return sorted({domain.lower() for domain in self.customer.email_domains})

    def seal_secret(self, secret: str) -> None:
        """Set the client's secret, bound to this customer and issuer."""
        self.client_secret = bind_to_place(secret, to=self._place)

    def unseal_secret(self) -> str:
        """Return the client's secret. Raises CannotUnseal."""
        return unbind_from_place(self.client_secret, to=self._place)

    @property
    def _place(self) -> str:
        return f"revcred.companysignin.client_secret:{self.customer_id}:{self.issuer}"
