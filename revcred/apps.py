from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class RevcredConfig(AppConfig):
    name = "revcred"
    verbose_name = "Customers and credentials"


class AdminConfig(DjangoAdminConfig):
    default_site = "revcred.administration.Administration"
