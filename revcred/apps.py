from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class RevcredConfig(AppConfig):
    name = "revcred"
    verbose_name = "Customers and credentials"

    def ready(self) -> None:
        from revcred import accounts  # noqa: F401 - listens to who signs in and out


class AdminConfig(DjangoAdminConfig):
    default_site = "revcred.administration.Administration"

    def ready(self) -> None:
        super().ready()
        # Addresses change with their subscriber, on record; not one by one, behind its back.
        from allauth.account.models import EmailAddress
        from django.contrib.admin import site

        site.unregister(EmailAddress)
