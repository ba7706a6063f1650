"""Columns of lists of subscriptions."""

from django.utils.translation import gettext_noop

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.uploads.columns.cell_rules import parse_moment_cell
from revcred.uploads.columns.cells import parse_whole_number_cell, text_parser
from revcred.uploads.columns.list_column import ListColumn
from revcred.uploads.columns.shared import CUSTOMER_COLUMN, CUSTOMER_NAME_COLUMN

SUBSCRIPTION_COLUMNS = (
    ListColumn(
        name="external_key",
        title=gettext_noop("External key"),
        help=gettext_noop("What gateways send as subscription. Unique."),
        example="acme-maps",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("subscription", "subscription id", "product key", "key", "id"),
    ),
    CUSTOMER_COLUMN,
    CUSTOMER_NAME_COLUMN,
    ListColumn(
        name="product",
        title=gettext_noop("Product"),
        help=gettext_noop("The external key of the product."),
        example="maps",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        required=True,
        aliases=(
            *("product id", "plan", "plan name", "plan id", "produkt", "tarif", "paket", "produit"),
            *("producto", "produto", "prodotto"),
        ),
    ),
    ListColumn(
        name="name",
        title=gettext_noop("Name"),
        help=gettext_noop("What people call it."),
        example="Maps for Acme",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        aliases=("subscription name",),
    ),
    ListColumn(
        name="active_from",
        title=gettext_noop("Active from"),
        help=gettext_noop(
            "A day or a moment; UTC unless it says otherwise. Empty for a new one: as far back as"
            " transactions are accepted."
        ),
        example="2026-01-01",
        parse=parse_moment_cell,
        aliases=(
            *("from", "start", "start date", "starts at", "valid from", "started at", "beginn"),
            "gültig ab",
        ),
    ),
    ListColumn(
        name="active_until",
        title=gettext_noop("Active until"),
        help=gettext_noop("Not included. Empty: open-ended."),
        example="2027-01-01",
        parse=parse_moment_cell,
        aliases=(
            *("until", "end", "end date", "ends at", "valid until", "ended at", "ende"),
            *("gültig bis", "cancel at", "canceled at", "cancelled at"),
        ),
    ),
    ListColumn(
        name="quota",
        title=gettext_noop("Quota"),
        help=gettext_noop("Calls a month that are included. Shown, not enforced."),
        example="100000",
        parse=parse_whole_number_cell,
        aliases=(
            *("monthly quota", "calls per month", "included calls", "monthly limit", "kontingent"),
            *("freikontingent", "cuota", "cota"),
        ),
    ),
)
