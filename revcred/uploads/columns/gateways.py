"""Columns of lists of gateways."""

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
        title="Name",
        help="Unique. It identifies the gateway.",
        example="edge-eu",
        parse=text_parser(100),
        identifying=True,
        required=True,
        aliases=("gateway", "gateway name", "gateway id", "id", "cluster", "instance"),
    ),
    ListColumn(
        name="kind",
        title="Kind",
        help=f"One of {', '.join(Gateway.Kind.values)}. Empty for a new one: other.",
        example="kong",
        parse=choice_parser(words_of(Gateway.Kind.choices, azure_apim=Gateway.Kind.AZURE)),
        aliases=("type", "gateway type", "gateway kind", "product", "vendor", "typ", "art"),
    ),
    ListColumn(
        name="suspended_at",
        title="Suspended at",
        help="From then on its tokens are refused.",
        example="",
        parse=parse_moment_cell,
    ),
    ListColumn(
        name="accepted_days",
        title="Accepted age in days",
        help="How old a call may be when it arrives. Empty: as the installation has it.",
        example="30",
        parse=parse_accepted_days_cell,
        aliases=("accepted age", "max age days"),
    ),
    ListColumn(
        name="ids_from_callers",
        title="Ids may come from callers",
        help="Yes or no: a caller may choose the id that this gateway reports. Empty for a new "
        "one: as usual for its kind.",
        example="no",
        parse=parse_yes_or_no,
    ),
    ListColumn(
        name="event_subject",
        title="Event subject",
        help="What the subject of its CloudEvents names: key or subscription.",
        example="key",
        parse=choice_parser(words_of(Gateway.EventSubject.choices)),
    ),
    ListColumn(
        name="event_elements",
        title="Event elements",
        help="Which members of its CloudEvents' data are counted. Several are separated by |.",
        example="tokens|usage.output_tokens",
        parse=several_parser(text_parser(100), also=",;"),
        several=True,
    ),
    ListColumn(
        name="counted_records",
        title="Counted records",
        help="OpenTelemetry only: names of further records that are calls. Several are separated "
        "by |.",
        example="http.access",
        parse=several_parser(text_parser(100), also=",;"),
        several=True,
    ),
    ListColumn(
        name="kept_attributes",
        title="Kept attributes",
        help="Names of further attributes that are kept and shown to the customer. Never name one "
        "that holds a prompt or a key. Several are separated by |.",
        example="http.route",
        parse=several_parser(text_parser(100), also=",;"),
        several=True,
    ),
    ListColumn(
        name="check_mode",
        title="Check of calls",
        help="off, observe or enforce.",
        example="observe",
        parse=choice_parser({mode: mode for mode in Gateway.CheckMode.values}),
        aliases=("checks",),
    ),
    ListColumn(
        name="key_place",
        title="Where the caller's key is",
        help=f"One of {', '.join(Gateway.KeyPlace.values)}.",
        example="header",
        parse=choice_parser(words_of(Gateway.KeyPlace.choices)),
    ),
    ListColumn(
        name="key_name",
        title="Name of that header or parameter",
        help="Letters, digits, - and _.",
        example="X-Api-Key",
        parse=parse_key_name_cell,
    ),
    ListColumn(
        name="check_refuses_over_quota",
        title="Refuse calls over the quota",
        help="Yes or no.",
        example="no",
        parse=parse_yes_or_no,
    ),
    ListColumn(
        name="check_fails_open",
        title="Let calls through when revcred cannot be asked",
        help="Yes or no. A note for whoever configures the gateway.",
        example="yes",
        parse=parse_yes_or_no,
    ),
    ListColumn(
        name="signs_claims",
        title="Send backends a signed claim",
        help="Yes or no.",
        example="no",
        parse=parse_yes_or_no,
    ),
)
