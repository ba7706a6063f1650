"""Columns of lists of gateways."""

from django.utils.translation import gettext_noop

from revcred.models import Gateway
from revcred.uploads.columns.cell_rules import parse_moment_cell
from revcred.uploads.columns.cells import (
    choice_parser,
    parse_accepted_days_cell,
    parse_key_name_cell,
    several_parser,
    text_parser,
    words_of,
)
from revcred.uploads.columns.list_column import ListColumn
from revcred.uploads.state_cells import parse_yes_or_no

GATEWAY_COLUMNS = (
    ListColumn(
        name="name",
        title=gettext_noop("Name"),
        help=gettext_noop("Unique. It identifies the gateway."),
        example="edge-eu",
        parse=text_parser(100),
        identifying=True,
        required=True,
        aliases=("gateway", "gateway name", "gateway id", "id", "cluster", "instance"),
    ),
    ListColumn(
        name="kind",
        title=gettext_noop("Kind"),
        help=f"One of {', '.join(Gateway.Kind.values)}. Empty for a new one: other.",
        example="kong",
        parse=choice_parser(words_of(Gateway.Kind.choices, azure_apim=Gateway.Kind.AZURE)),
        aliases=("type", "gateway type", "gateway kind", "product", "vendor", "typ", "art"),
    ),
    ListColumn(
        name="suspended_at",
        title=gettext_noop("Suspended at"),
        help=gettext_noop("From then on its tokens are refused."),
        example="",
        parse=parse_moment_cell,
    ),
    ListColumn(
        name="accepted_days",
        title=gettext_noop("Accepted age in days"),
        help=gettext_noop(
            "How old a call may be when it arrives. Empty: as the installation has it."
        ),
        example="30",
        parse=parse_accepted_days_cell,
        aliases=("accepted age", "max age days"),
    ),
    ListColumn(
        name="ids_from_callers",
        title=gettext_noop("Ids may come from callers"),
        help=gettext_noop(
            "Yes or no: a caller may choose the id that this gateway reports. Empty for a new one:"
            " as usual for its kind."
        ),
        example="no",
        parse=parse_yes_or_no,
    ),
    ListColumn(
        name="event_subject",
        title=gettext_noop("Event subject"),
        help=gettext_noop("What the subject of its CloudEvents names: key or subscription."),
        example="key",
        parse=choice_parser(words_of(Gateway.EventSubject.choices)),
    ),
    ListColumn(
        name="event_elements",
        title=gettext_noop("Event elements"),
        help=gettext_noop(
            "Which members of its CloudEvents' data are counted. Several are separated by |."
        ),
        example="tokens|usage.output_tokens",
        parse=several_parser(text_parser(100), also=",;"),
        several=True,
    ),
    ListColumn(
        name="counted_records",
        title=gettext_noop("Counted records"),
        help=gettext_noop(
            "OpenTelemetry only: names of further records that are calls. Several are separated by"
            " |."
        ),
        example="http.access",
        parse=several_parser(text_parser(100), also=",;"),
        several=True,
    ),
    ListColumn(
        name="kept_attributes",
        title=gettext_noop("Kept attributes"),
        help=gettext_noop(
            "Names of further attributes that are kept and shown to the customer. Never name one"
            " that holds a prompt or a key. Several are separated by |."
        ),
        example="http.route",
        parse=several_parser(text_parser(100), also=",;"),
        several=True,
    ),
    ListColumn(
        name="check_mode",
        title=gettext_noop("Check of calls"),
        help=gettext_noop("off, observe or enforce."),
        example="observe",
        parse=choice_parser({mode: mode for mode in Gateway.CheckMode.values}),
        aliases=("checks",),
    ),
    ListColumn(
        name="key_place",
        title=gettext_noop("Where the caller's key is"),
        help=f"One of {', '.join(Gateway.KeyPlace.values)}.",
        example="header",
        parse=choice_parser(words_of(Gateway.KeyPlace.choices)),
    ),
    ListColumn(
        name="key_name",
        title=gettext_noop("Name of that header or parameter"),
        help=gettext_noop("Letters, digits, - and _."),
        example="X-Api-Key",
        parse=parse_key_name_cell,
    ),
    ListColumn(
        name="check_refuses_over_quota",
        title=gettext_noop("Refuse calls over the quota"),
        help=gettext_noop("Yes or no."),
        example="no",
        parse=parse_yes_or_no,
    ),
    ListColumn(
        name="check_fails_open",
        title=gettext_noop("Let calls through when revcred cannot be asked"),
        help=gettext_noop("Yes or no. A note for whoever configures the gateway."),
        example="yes",
        parse=parse_yes_or_no,
    ),
    ListColumn(
        name="signs_claims",
        title=gettext_noop("Send backends a signed claim"),
        help=gettext_noop("Yes or no."),
        example="no",
        parse=parse_yes_or_no,
    ),
)
