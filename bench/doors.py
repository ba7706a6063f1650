"""`python -m bench.doors`: how fast each door takes one call a POST, beside the native one.

Native and door by turns, so that what slows the machine down slows both.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench import traffic
from bench.load import Address, Drive
from bench.stack import Bench, a_bench, arguments, say

CONNECTIONS = 16
CREDENTIALS = 10_000
SUCCESS = range(200, 300)

Said = Callable[[str, str, str], dict[str, Any]]  # of id, key and moment


@dataclass(frozen=True)
class Posted(Address):
    path: str = "/v1/transactions"

    def post(self, body: bytes) -> bytes:
        return super().post(body).replace(b"/v1/transactions", self.path.encode(), 1)


NATIVE = "/v1/transactions"
DOORS: dict[str, Said] = {
    NATIVE: lambda name, key, moment: {
        "transaction_id": name,
        "occurred_at": moment,
        "key": key,
        "method": "GET",
        "path": "/v1/tiles/7",
        "status": 200,
        "latency_ms": 12.5,
        "elements": {"calls": 1, "megabytes": 1.5},
    },
    "/meter/v1/api/meter": lambda _, key, __: {
        "application": key,
        "method": "GET",
        "url": "/v1/tiles/7",
        "responseCode": 200,
        "requestHeaders": [],
        "responseHeaders": [],
        "backendLatency": 12.5,
        "elements": [{"name": "megabytes", "value": "1.5"}],
    },
    "/meter/v1/api/event": lambda name, key, _: {
        "requestId": name,
        "eventType": "REQUEST",
        "application": key,
        "method": "GET",
        "uri": "/v1/tiles/7",
    },
    "/meter/v2/events": lambda name, key, _: {
        "transactionId": name,
        "payload": {"calls": 1, "megabytes": 1.5},
        "sourceType": "SDK_PYTHON",
        "subscriberCredential": key,
    },
    "/meter/v2/apis/requests": lambda name, key, _: {
        "transactionId": name,
        "credential": key,
        "method": "GET",
        "resource": "/v1/tiles/7",
    },
    "/meter/v2/apis/responses": lambda name, _, __: {
        "transactionId": name,
        "responseCode": 200,
        "totalDuration": 12.5,
    },
    "/meter/v2/ai/completions": lambda name, key, moment: {
        "transactionId": name,
        "model": "m",
        "provider": "p",
        "inputTokenCount": 50,
        "outputTokenCount": 150,
        "totalTokenCount": 200,
        "requestDuration": 1000,
        "requestTime": moment,
        "stopReason": "END",
        "subscriber": {"credential": {"value": key}},
    },
    "/meter/v2/tool/events": lambda name, key, moment: {
        "transactionId": name,
        "toolId": "search",
        "durationMs": 12,
        "success": True,
        "timestamp": moment,
        "subscriberCredential": key,
    },
    "/v1/events": lambda name, key, moment: {
        "specversion": "1.0",
        "id": name,
        "source": "bench",
        "type": "call",
        "subject": key,
        "time": moment,
        "data": {"calls": 1, "megabytes": 1.5},
    },
    "/meter/v2/otlp/v1/logs": lambda name, key, _: {
        "resourceLogs": [
            {
                "resource": {"attributes": [_text("service.name", "bench")]},
                "scopeLogs": [
                    {
                        "logRecords": [
                            {
                                "timeUnixNano": str(time.time_ns()),
                                "body": {"stringValue": "api_request"},
                                "attributes": [
                                    _text("transaction.id", name),
                                    _text("subscriber.credential", key),
                                    _text("model", "m"),
                                    _text("input_tokens", "50"),
                                    _text("output_tokens", "150"),
                                ],
                            }
                        ]
                    }
                ],
            }
        ]
    },
}
DOORS["/meter/v2/otlp/v1/traces"] = lambda name, key, _: {
    "resourceSpans": [
        {
            "resource": {"attributes": [_text("service.name", "bench")]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "name": "chat m",
                            "startTimeUnixNano": str(time.time_ns()),
                            "endTimeUnixNano": str(time.time_ns()),
                            "attributes": [
                                _text("transaction.id", name),
                                _text("subscriber.credential", key),
                                _text("gen_ai.request.model", "m"),
                                _text("gen_ai.usage.input_tokens", "50"),
                                _text("gen_ai.usage.output_tokens", "150"),
                            ],
                        }
                    ]
                }
            ],
        }
    ]
}
DOORS["/api/v1/events"] = DOORS["/v1/events"]


def _text(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("paths", nargs="*", help="only these")
    options = parser.parse_args()
    with a_bench(options.credentials) as bench:
        _rate(bench, NATIVE, 0, options.seconds)
        for path in options.paths or DOORS.keys() - {NATIVE}:
            say(_compared(bench, path, options))
    return 0


def _compared(bench: Bench, path: str, options: argparse.Namespace) -> str:
    shares, rates = [], []
    for turn in range(options.turns):
        native = _rate(bench, NATIVE, turn, options.seconds)
        rates.append(_rate(bench, path, turn, options.seconds))
        shares.append(rates[-1] / native)
    share, rate = statistics.median(shares), statistics.median(rates)
    return f"{path:28} {rate:7,.0f} a second, {share:4.0%} of the native door's"


def _rate(bench: Bench, path: str, turn: int, seconds: float) -> float:
    said, moment = DOORS[path], datetime.now(UTC).isoformat()
    address = Posted(bench.address.host, bench.address.port, bench.token, path)

    def request(number: int) -> bytes:
        name = f"{path}-{turn}-{number}"
        key = traffic.key(number % bench.credentials)
        return address.post(json.dumps(said(name, key, moment)).encode())

    sent = Drive(address, request, connections=CONNECTIONS, seconds=seconds).run()
    taken = sum(each.status in SUCCESS for each in sent)
    if taken < len(sent):
        say(f"{path}: {len(sent) - taken} not taken, as {sent[-1].status}")
    bench.wait_until_processed()
    return taken / seconds


if __name__ == "__main__":
    sys.exit(main())
