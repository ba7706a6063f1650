"""App configurations of the core and its administration."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class RevcredConfig(AppConfig):
    name = "revcred"
    verbose_name = "Customers and credentials"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from revcred import fingerprint_rotation, roles, texts
        from revcred.accounts import (
            adapters,  # noqa: F401 - listens to who signs in and out
            second_factor,
        )

        texts.translate_derived_names(self.get_models())
        fingerprint_rotation.begin_if_two_keys()
        second_factor.connect_factor_signals()
        post_migrate.connect(roles.sync_roles, sender=self)


class RevcredAdminConfig(DjangoAdminConfig):
    default_site = "revcred.admin_toolkit.site.RevcredAdminSite"

    def ready(self) -> None:
        super().ready()
        # Addresses change by an action that records it, not row by row.
        from allauth.account.models import EmailAddress
        from allauth.mfa.models import Authenticator
        from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
        from django.contrib.admin import site

        site.unregister(EmailAddress)
        # Whoever could edit second factors could sign in as somebody else.
        site.unregister(Authenticator)
        # Neither who is connected with a company's sign-in, nor what allauth would keep of it.
        site.unregister([SocialAccount, SocialApp, SocialToken])
