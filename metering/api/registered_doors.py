"""All doors. URLs, OpenAPI and the middleware that leaves gateways alone read this list.

`docs/gateways.md` says how to add one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.urls import URLPattern, path

from metering.api.cloudevents import CloudEventsDialect, OpenMeterDialect
from metering.api.dialects import Dialect
from metering.api.doors import Door
from metering.api.lines import LinesDialect
from metering.api.revenium import ai, partial_transactions, v1, v2
from metering.api.revenium.otlp import OtlpLogsDialect, OtlpTracesDialect
from metering.api.revenium.tools import ToolEventsDialect
from metering.api.transactions import TransactionsDialect
from revcred.runtime.program_paths import add_program_paths


@dataclass(frozen=True)
class RegisteredDoor:
    """An address that gateways post to, without a slash at either end, and its dialect.

    `other_addresses` are answered alike and not documented, such as those that one SDK builds.
    """

    address: str
    dialect: Dialect
    other_addresses: tuple[str, ...] = ()

    @property
    def paths(self) -> frozenset[str]:
        """All paths of the door, each with and without a slash at the end."""
        addresses = (self.address, *self.other_addresses)
        return frozenset(f"/{address}{end}" for address in addresses for end in ("", "/"))

    def urls(self) -> Iterator[URLPattern]:
        """Yield the patterns of the door; only its address itself is documented."""
        # No redirect from one to the other: clients follow it with a GET, and the calls are lost.
        documented = f"/{self.address}"
        yield path(self.address, Door.as_view(dialect=self.dialect))
        for url_path in sorted(self.paths - {documented}):
            yield path(url_path[1:], Door.as_view(dialect=self.dialect, schema=None))


DOORS = (
    RegisteredDoor("v1/transactions", TransactionsDialect()),
    RegisteredDoor("v1/lines", LinesDialect()),
    RegisteredDoor("v1/events", CloudEventsDialect()),
    RegisteredDoor("api/v1/events", OpenMeterDialect()),
    RegisteredDoor("meter/v1/api/meter", v1.MeterDialect()),
    RegisteredDoor("meter/v1/api/event", partial_transactions.V1EventsDialect()),
    RegisteredDoor("meter/v2/events", v2.ProductEventsDialect()),
    RegisteredDoor("meter/v2/apis/requests", partial_transactions.ApiRequestsDialect()),
    RegisteredDoor("meter/v2/apis/responses", partial_transactions.ApiResponsesDialect()),
    RegisteredDoor("meter/v2/ai/completions", ai.AiCompletionsDialect()),
    RegisteredDoor("meter/v2/ai/images", ai.AiImagesDialect()),
    RegisteredDoor("meter/v2/ai/audio", ai.AiAudioDialect()),
    RegisteredDoor("meter/v2/ai/video", ai.AiVideoDialect()),
    RegisteredDoor("meter/v2/tool/events", ToolEventsDialect(), ("tool/events",)),
    RegisteredDoor("meter/v2/otlp/v1/logs", OtlpLogsDialect(), ("v2/otlp/v1/logs", "v1/logs")),
    RegisteredDoor(
        "meter/v2/otlp/v1/traces", OtlpTracesDialect(), ("v2/otlp/v1/traces", "v1/traces")
    ),
)
# Prefixes of Revenium's API. An address under them that is no door gets an error in its style.
METERING_ROOTS = ("meter", "tool", "v2")
MANAGEMENT_ROOTS = ("profitstream", "api/v2")
OPENMETER_ROOTS = ("api/v1",)  # of which only `api/v1/events` is a door


def announce_doors(doors: Iterable[RegisteredDoor]) -> None:
    """Tell the core which addresses are doors: they need no session and answer errors as JSON."""
    addresses = frozenset(path for door in doors for path in door.paths)
    roots = (*METERING_ROOTS, *MANAGEMENT_ROOTS, *OPENMETER_ROOTS)
    add_program_paths(addresses=addresses, prefixes=tuple(f"/{root}/" for root in roots))
