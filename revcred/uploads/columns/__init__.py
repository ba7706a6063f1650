"""Columns of each kind of list, and the parsers of their cells."""

from collections.abc import Mapping
from enum import StrEnum

from django.utils.translation import gettext_noop

from revcred.uploads.columns.cell_rules import (
    PLAN_SEPARATORS,
    CellRules,
    parse_moment_cell,
    parse_state_cell,
)
from revcred.uploads.columns.credentials import CREDENTIAL_COLUMNS
from revcred.uploads.columns.customers import CUSTOMER_COLUMNS
from revcred.uploads.columns.gateways import GATEWAY_COLUMNS
from revcred.uploads.columns.list_column import VALUE_SEPARATOR, CellParser, ListColumn
from revcred.uploads.columns.products import PRODUCT_COLUMNS
from revcred.uploads.columns.sources import SOURCE_COLUMNS
from revcred.uploads.columns.subscribers import SUBSCRIBER_COLUMNS
from revcred.uploads.columns.subscriptions import SUBSCRIPTION_COLUMNS
from revcred.uploads.columns.usage import USAGE_COLUMNS

__all__ = [
    "KIND_LABELS",
    "PLAN_SEPARATORS",
    "VALUE_SEPARATOR",
    "CellParser",
    "CellRules",
    "ListColumn",
    "ListKind",
    "columns_by_name",
    "columns_of",
    "parse_moment_cell",
    "parse_state_cell",
]


class ListKind(StrEnum):
    CREDENTIALS = "credentials"
    CUSTOMERS = "customers"
    SUBSCRIBERS = "subscribers"
    SUBSCRIPTIONS = "subscriptions"
    PRODUCTS = "products"
    SOURCES = "sources"
    GATEWAYS = "gateways"
    USAGE = "usage"


KIND_LABELS: Mapping[ListKind, str] = {
    ListKind.CREDENTIALS: gettext_noop("Credentials"),
    ListKind.CUSTOMERS: gettext_noop("Customers"),
    ListKind.SUBSCRIBERS: gettext_noop("Subscribers"),
    ListKind.SUBSCRIPTIONS: gettext_noop("Subscriptions"),
    ListKind.PRODUCTS: gettext_noop("Products"),
    ListKind.SOURCES: gettext_noop("Sources"),
    ListKind.GATEWAYS: gettext_noop("Gateways"),
    ListKind.USAGE: gettext_noop("Usage"),
}

COLUMNS_BY_KIND: Mapping[ListKind, tuple[ListColumn, ...]] = {
    ListKind.CREDENTIALS: CREDENTIAL_COLUMNS,
    ListKind.CUSTOMERS: CUSTOMER_COLUMNS,
    ListKind.SUBSCRIBERS: SUBSCRIBER_COLUMNS,
    ListKind.SUBSCRIPTIONS: SUBSCRIPTION_COLUMNS,
    ListKind.PRODUCTS: PRODUCT_COLUMNS,
    ListKind.SOURCES: SOURCE_COLUMNS,
    ListKind.GATEWAYS: GATEWAY_COLUMNS,
    ListKind.USAGE: USAGE_COLUMNS,
}


def columns_of(kind: ListKind) -> tuple[ListColumn, ...]:
    return COLUMNS_BY_KIND[kind]


def columns_by_name(kind: ListKind) -> Mapping[str, ListColumn]:
    return {column.name: column for column in columns_of(kind)}
