"""Columns of lists of credentials."""

from django.utils.translation import gettext_noop

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.uploads.columns.cell_rules import parse_moment_cell, parse_plan_cell, parse_state_cell
from revcred.uploads.columns.cells import parse_email_cell, several_parser, text_parser
from revcred.uploads.columns.list_column import ListColumn
from revcred.uploads.columns.shared import (
    CUSTOMER_COLUMN,
    CUSTOMER_NAME_COLUMN,
    TAGS_COLUMN,
    fields_of,
)
from revcred.uploads.key_cells import parse_key_cell, parse_secret_cell
from revcred.uploads.moment_cells import parse_duration
from revcred.uploads.state_cells import parse_switched_off, parse_withdrawn

CREDENTIAL_COLUMNS = (
    CUSTOMER_COLUMN,
    CUSTOMER_NAME_COLUMN,
    ListColumn(
        name="name",
        title=gettext_noop("Name"),
        help=gettext_noop("What people call it. Unique within a customer."),
        example="Orders service",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        required=True,
        aliases=(
            *("credential name", "credential", "application", "application name", "app"),
            "app name",
            *("label", "key name", "display name", "subscriber credential name", "client name"),
            *("consumer username", "username", "bezeichnung", "anwendung", "nom", "nombre"),
            "nom de l'application",
            *("aplicación", "aplicação", "applicazione", "applicatie", "toepassing", "naam"),
            *("nome", "title", "credential title", "key label", "token name"),
            *fields_of(
                ("app", "apps", "application", "applications", "credential", "credentials", "key"),
                ("name", "title", "label", "display_name"),
            ),
            *fields_of(("keys", "api_key", "api_keys", "consumer"), ("name", "title", "label")),
            "consumer.username",
        ),
    ),
    ListColumn(
        name="key",
        title=gettext_noop("Key"),
        help=gettext_noop(
            "What callers send: an API key or a client id. Empty for a new credential: one is"
            " generated if you choose so."
        ),
        example="ak_live_5f2b8c1e9d",
        parse=parse_key_cell,
        secret=True,
        aliases=(
            *("api key", "external key", "external id", "credential id", "credential value"),
            *("client id", "consumer key", "user key", "key value", "api key value", "app id"),
            *("primary key", "key 1", "access key", "access key id", "access token", "api token"),
            *("token", "auth token", "subscription key", "api schlüssel", "schlüssel"),
            *("zugangsschlüssel", "clé", "clé api", "clave", "clave api", "chiave", "chiave api"),
            *("chave", "chave api", "sleutel", "api sleutel"),
            *("x api key", "ocp apim subscription key"),
        ),
    ),
    ListColumn(
        name="aliases",
        title=gettext_noop("Aliases"),
        help=gettext_noop(
            "Other keys and names under which its calls may arrive, such as a second key. Several"
            " are separated by |."
        ),
        example="",
        parse=several_parser(parse_key_cell, also=",;"),
        several=True,
        secret=True,
        joins=True,
        aliases=(
            *("alias", "secondary key", "key 2", "second key", "other keys", "additional keys"),
            *("old key", "previous key", "former key", "consumer id"),
        ),
    ),
    ListColumn(
        name="secret",
        title=gettext_noop("Secret"),
        help=gettext_noop(
            "What goes with the key, such as a client secret. Shown to its holders only."
        ),
        example="s3cr3t-of-orders",
        parse=parse_secret_cell,
        secret=True,
        aliases=(
            "external secret",
            "geheimnis",
            "secret key",
            "client secret",
            "consumer secret",
            "api secret",
            "app key",
        ),
    ),
    ListColumn(
        name="subscription",
        title=gettext_noop("Subscription"),
        help=gettext_noop(
            "The external key of the subscription it is charged to. Several are separated by |."
        ),
        example="acme-maps",
        parse=several_parser(text_parser(MAX_EXTERNAL_KEY_CHARACTERS), also=";"),
        several=True,
        aliases=(
            *("subscriptions", "subscription id", "subscription key name", "product key"),
            *("abonnement", "abo", "vertrag"),
        ),
    ),
    ListColumn(
        name="plan",
        title=gettext_noop("Plan"),
        help=gettext_noop(
            "The external key or name of a product, which many customers may have. Each customer"
            " gets one subscription of it. Several are separated by |."
        ),
        example="",
        parse=parse_plan_cell,
        several=True,
        aliases=(
            *("plans", "plan name", "plan id", "usage plan", "usage plan ids", "product"),
            *("products", "product name", "product id", "api product", "api products"),
            *("application plan", "rate plan", "tier", "pricing tier", "tarif", "produkt", "paket"),
        ),
    ),
    ListColumn(
        name="holders",
        title=gettext_noop("Holders"),
        help=gettext_noop(
            "The e-mail addresses of the people who use it. Several are separated by |."
        ),
        example="ada@example.com|grace@example.com",
        parse=several_parser(parse_email_cell, also=",;"),
        several=True,
        aliases=(
            *("holder", "subscriber email", "subscriber", "email", "e mail address", "owner"),
            *("owner email", "users", "user email", "contact", "developer email", "mail"),
            *("ansprechpartner", "inhaber", "besitzer", "e mail adresse"),
        ),
    ),
    ListColumn(
        name="environment",
        title=gettext_noop("Environment"),
        help="Such as production or staging.",
        example="production",
        parse=text_parser(50),
        aliases=("env", "stage", "key type", "umgebung"),
    ),
    TAGS_COLUMN,
    ListColumn(
        name="expires_at",
        title=gettext_noop("Expires at"),
        help=gettext_noop(
            "From when on it is not to be used. A day or a moment; UTC unless it says otherwise."
        ),
        example="2027-12-31",
        parse=parse_moment_cell,
        aliases=(
            *("expires", "expiry", "expiration", "expiration date", "expiry date", "valid until"),
            *("expires on", "expire at", "end date", "not after", "gültig bis", "ablaufdatum"),
            *("läuft ab", "ablauf", "date d'expiration", "expire le", "vence", "vencimiento"),
            *("caducidad", "scadenza", "validade", "vencimento", "vervaldatum", "verloopt op"),
        ),
    ),
    ListColumn(
        name="expires_in",
        title=gettext_noop("Expires in"),
        help=gettext_noop(
            "Seconds, or such as 30d or 12h, from the start of the key on; without a start, from"
            " the check of the list on."
        ),
        example="",
        parse=parse_duration,
        aliases=(
            *("ttl", "time to live", "lifetime", "validity period", "validity"),
            *("valid for", "expires after", "gültigkeitsdauer", "gültigkeit", "laufzeit"),
        ),
    ),
    ListColumn(
        name="state",
        title=gettext_noop("State"),
        help=gettext_noop("Active, suspended, revoked or expired, also in other words."),
        example="",
        parse=parse_state_cell,
        joins=True,
        aliases=(
            *("status", "enabled", "active", "is enabled", "is active", "approval", "approved"),
            *("approval status", "key status", "key state", "app status", "application status"),
            *("application state", "credential status", "lifecycle", "zustand", "aktiv", "statut"),
            *("estado", "stato", "situação", "état"),
        ),
    ),
    ListColumn(
        name="switched_off",
        title=gettext_noop("Switched off"),
        help=gettext_noop(
            "Yes or no, or since when: a credential that is switched off is suspended."
        ),
        example="",
        parse=parse_switched_off,
        joins=True,
        aliases=(
            *("disabled", "inactive", "is inactive", "is disabled", "suspended", "is suspended"),
            *("blocked", "is blocked", "disabled at", "suspended at", "deactivated at"),
            *("blocked at", "deactivated", "deaktiviert", "gesperrt", "gesperrt am"),
            "deaktiviert am",
        ),
    ),
    ListColumn(
        name="withdrawn",
        title=gettext_noop("Withdrawn"),
        help=gettext_noop("Yes or no, or since when: a credential that is withdrawn is revoked."),
        example="",
        parse=parse_withdrawn,
        joins=True,
        aliases=(
            *("revoked", "is revoked", "revoked at", "revoked on", "revocation date", "deleted"),
            *("is deleted", "deleted at", "deleted on", "archived", "is archived", "archived at"),
            *("cancelled at", "canceled at", "terminated at", "retired at", "widerrufen"),
            *("widerrufen am", "gelöscht", "gelöscht am", "gekündigt am"),
        ),
    ),
    ListColumn(
        name="key_active_from",
        title=gettext_noop("Counts from"),
        help=gettext_noop(
            "From when on the key counts. Empty for a new key: as far back as transactions are"
            " accepted."
        ),
        example="2026-01-01",
        parse=parse_moment_cell,
        aliases=(
            *("active from", "valid from", "issued at", "created at", "created", "created date"),
            *("created on", "creation date", "not before", "start date", "erstellt am", "erstellt"),
            *("gültig ab", "angelegt am", "créé le", "creado el", "creato il", "criado em"),
            *("aangemaakt op", "date de création", "fecha de creación"),
        ),
    ),
    ListColumn(
        name="assigned_from",
        title=gettext_noop("Charged from"),
        help=gettext_noop(
            "From when on it is charged to the subscription: the moment of a move. Empty: for a"
            " new credential as its key, otherwise when the upload is applied."
        ),
        example="2026-01-01",
        parse=parse_moment_cell,
        aliases=("subscribed from", "moved at", "move date"),
    ),
    ListColumn(
        name="gateway",
        title=gettext_noop("Gateway"),
        help=gettext_noop("The name of the only gateway the key counts at. Empty: any."),
        example="",
        parse=text_parser(100),
    ),
)
