"""Calls through a gateway, and what has to become of them."""

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from conformance.gateways.callers import CUSTOMER, PRODUCT, SUBSCRIPTION, Key
from revcred.launcher.web import WEB_HOST

CALL_SECONDS = 40.0
FORGED = "forged-by-the-caller"
PATH = "/maps/v1/tiles"
OTHER_PATH = "/routes/v1/ways"
# Those of `metering.api.verification.answers`, as a backend knows them.
HEADERS = (
    *("X-Revcred-Code", "X-Revcred-Credential", "X-Revcred-Subscription", "X-Revcred-Customer"),
    *("X-Revcred-Product", "X-Revcred-Quota-Remaining", "X-Revcred-Check", "X-Revcred-Claim"),
)
HeaderLines = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call as a caller makes it. Nothing in it is made tidy."""

    key: str | None = None
    path: str = PATH
    method: str = "GET"
    headers: HeaderLines = ()
    body: bytes = b""

    @property
    def lines(self) -> list[tuple[str, str]]:
        shown = [("X-Api-Key", self.key)] if self.key else []
        return [*shown, *self.headers]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the caller was told, and what the backend saw if the call came through."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, Any] | None = None

    def values(self, name: str) -> list[str]:
        """Return the values that the backend saw of a header, however it was spelled."""
        wanted = name.lower().replace("_", "-")
        lines = self.seen["headers"] if self.seen else []
        return [value for line, value in lines if line.lower().replace("_", "-") == wanted]


def make_call(port: int, call: Call) -> Outcome:
    """Make a call through the gateway at a port. The status is 0 if it was not answered."""
    connection = http.client.HTTPConnection(WEB_HOST, port, timeout=CALL_SECONDS)
    try:
        connection.putrequest(call.method, call.path)
        for name, value in call.lines:
            connection.putheader(name, value)
        if call.body:
            connection.putheader("Content-Length", str(len(call.body)))
        connection.endheaders(call.body or None)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException):
        return Outcome(status=0)
    finally:
        connection.close()
    headers = {name.lower(): value for name, value in answer.headers.items()}
    try:
        seen = json.loads(text)
    except ValueError:
        seen = None
    return Outcome(status=answer.status, headers=headers, seen=seen)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call, the status that it has to get, and what else is asked of the outcome."""

    name: str
    call: Call
    status: int
    code: str = ""  # that the caller is told
    is_wrong: Callable[[Outcome], str] = lambda _: ""

    def judge(self, outcome: Outcome) -> str:
        """Return what is wrong with the outcome, or an empty text."""
        if outcome.status != self.status:
            return f"not {self.status}"
        if (outcome.seen is not None) != (self.status == HTTPStatus.OK):
            return "a refused call came through"
        if self.code and outcome.headers.get("x-revcred-code") != self.code:
            return f"code {outcome.headers.get('x-revcred-code')!r}"
        return self.is_wrong(outcome)


OWNER = {
    "X-Revcred-Code": "valid",
    "X-Revcred-Customer": CUSTOMER,
    "X-Revcred-Subscription": SUBSCRIPTION,
    "X-Revcred-Product": PRODUCT,
}


def wrong_owner(outcome: Outcome) -> str:
    """Return which header at the backend is not the one that revcred said."""
    for name, value in OWNER.items():
        if outcome.values(name) != [value]:
            return f"{name} at the backend: {outcome.values(name)}"
    if not outcome.values("X-Revcred-Credential")[0].startswith("cred_"):
        return "no credential at the backend"
    if not outcome.values("X-Revcred-Quota-Remaining")[0].isdigit():
        return "no quota at the backend"
    return wrong_secrets(outcome)


def wrong_secrets(outcome: Outcome) -> str:
    """Return what the backend sees that it must not: a token, a key, a forged header."""
    if outcome.values("X-Revcred-Token"):
        return "the gateway's token at the backend"
    said = json.dumps(outcome.seen)
    if FORGED in said:
        return "a forged header at the backend"
    return "a key at the backend" if Key.GOOD in said else ""


def wrong_unasked(outcome: Outcome) -> str:
    """Return what the backend sees of a call that was let through without being asked about."""
    said = [name for name in HEADERS if any(outcome.values(name))]
    return f"{said[0]} at the backend" if said else wrong_secrets(outcome)


def wrong_challenge(outcome: Outcome) -> str:
    return "" if outcome.headers.get("www-authenticate") else "no WWW-Authenticate"


def _has_body(outcome: Outcome) -> str:
    seen = outcome.seen or {}
    if (seen["method"], seen["body"]) != ("POST", len(BODY)):
        return f"{seen['method']} with {seen['body']:,} bytes at the backend"
    return wrong_owner(outcome)


def _none_forged(outcome: Outcome) -> str:
    """A header that the caller had removed is missing; none may say something else."""
    for name, value in OWNER.items():
        if outcome.values(name) not in ([], [value], [""]):
            return f"{name} at the backend: {outcome.values(name)}"
    return wrong_secrets(outcome)


BODY = b"b" * 200_000
OWN_NAMES = (*HEADERS, "X-Revcred-Token", "X-Revcred-Source")
FORGED_LINES = tuple((name, FORGED) for name in OWN_NAMES)
# Backends that take their headers from an environment, as CGI and WSGI do, know no difference.
UNDERSCORED = tuple(
    (spelled, FORGED)
    for name in OWN_NAMES
    for spelled in (name.replace("-", "_"), name.replace("-", "_", 1), name.lower())
)
ADDRESSES = (
    *((name, PATH) for name in ("X-Original-URI", "X-Forwarded-Uri", "X-Original-Url")),
    *(("X-Revcred-Source", "maps"), ("X-Original-Method", "GET")),
)


def _refused(name: str, key: str, status: int, code: str) -> Case:
    return Case(name=name, call=Call(key=key), status=status, code=code)


CASES = (
    Case(name="good key", call=Call(key=Key.GOOD), status=200, is_wrong=wrong_owner),
    Case(
        name="good key, a POST of 200 kB",
        call=Call(key=Key.GOOD, method="POST", body=BODY),
        status=200,
        is_wrong=_has_body,
    ),
    Case(name="no key", call=Call(), status=401, code="unknown_key", is_wrong=wrong_challenge),
    _refused("unknown key", Key.UNKNOWN, 401, "unknown_key"),
    _refused("suspended", Key.SUSPENDED, 403, "suspended"),
    _refused("revoked", Key.REVOKED, 403, "revoked"),
    _refused("expired", Key.EXPIRED, 403, "expired"),
    _refused("quota exhausted", Key.EXHAUSTED, 429, "quota_exhausted"),
    Case(
        name="wrong source",
        call=Call(key=Key.GOOD, path=OTHER_PATH),
        status=403,
        code="wrong_source",
    ),
    Case(
        name="wrong source, another address in headers",
        call=Call(key=Key.GOOD, path=OTHER_PATH, headers=ADDRESSES),
        status=403,
        code="wrong_source",
    ),
    Case(
        name="forged headers, good key",
        call=Call(key=Key.GOOD, headers=FORGED_LINES),
        status=200,
        is_wrong=wrong_owner,
    ),
    Case(
        name="forged headers with underscores",
        call=Call(key=Key.GOOD, headers=UNDERSCORED),
        status=200,
        is_wrong=wrong_owner,
    ),
    Case(
        name="forged headers, no key",
        call=Call(headers=FORGED_LINES),
        status=401,
        code="unknown_key",
    ),
    Case(
        name="Connection names our headers",
        call=Call(
            key=Key.GOOD,
            headers=(("Connection", "keep-alive, " + ", ".join(HEADERS)), *FORGED_LINES),
        ),
        status=200,
        is_wrong=_none_forged,
    ),
    Case(
        name="a key in the query",
        call=Call(path=f"{PATH}?api_key={Key.IN_QUERY}"),
        status=401,
        code="unknown_key",
    ),
)
# Of a good key; none may reach the backend as another source's.
WALKS = (
    *("/maps/../routes/v1", "/maps/%2e%2e/routes/v1"),
    *("/maps/..%2froutes/v1", "/maps/.%2E/routes"),
)


def wrong_walk(outcome: Outcome) -> str:
    """Return what is wrong if a path that climbs out of its source came through."""
    return f"{outcome.seen['path']} at the backend" if outcome.seen else ""
