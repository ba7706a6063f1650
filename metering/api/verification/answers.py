"""Answers to checks: as JSON, or as the status and headers that gateways pass on."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from metering.models.check_codes import CheckCode, status_of
from metering.models.usage import CALLS_ELEMENT
from metering.verification.checking import Verdict
from metering.verification.facts import Register

CodeText = Annotated[
    str,
    Meta(extra_json_schema={"enum": CheckCode.values}, description="Why, or `valid`."),
]
# Each is always sent, so that no header of a caller's own passes for one of ours.
HEADERS = (
    *("X-Revcred-Code", "X-Revcred-Credential", "X-Revcred-Subscription", "X-Revcred-Customer"),
    *("X-Revcred-Product", "X-Revcred-Quota-Remaining", "X-Revcred-Check", "X-Revcred-Claim"),
)
CHALLENGE = 'ApiKey realm="api"'
PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
_is_plain = re.compile(f"[{re.escape(PRINTABLE)}]*").fullmatch  # a tenth of the time of `quote`


class QuotaAnswer(msgspec.Struct, kw_only=True):
    """What is left of the calls that a subscription includes in a calendar month in UTC."""

    element: str
    limit: int
    used: Annotated[int, Meta(description="As metered so far, a second or two behind.")]
    resets_at: datetime


class CheckAnswer(msgspec.Struct, kw_only=True):
    """The answer to one check. Texts are external keys; the credential is its public id."""

    allowed: bool
    code: CodeText
    would_be: Annotated[
        CodeText | UnsetType,
        Meta(description="What `code` would be, of a gateway that only observes."),
    ] = UNSET
    check: Annotated[str | None, Meta(description="The receipt of a refused call.")] = None
    credential: str | None = None
    subscription: str | None = None
    customer: str | None = None
    product: str | None = None
    environment: str | None = None
    tags: Sequence[str] = ()
    quota: Sequence[QuotaAnswer] = ()
    valid_until: datetime | None = None
    claim: Annotated[
        str | UnsetType,
        Meta(description="A JSON Web Token for the backend, if the gateway asks for it."),
    ] = UNSET
    stale: Annotated[bool, Meta(description="The database is away: this is what was known.")] = (
        False
    )


OFF_ANSWER = CheckAnswer(allowed=True, code=CheckCode.OFF.value)


def answer_of(
    verdict: Verdict, register: Register, *, observes: bool, check: str | None, stale: bool
) -> CheckAnswer:
    """Return the answer to a check. `check`: the id of its receipt, if the call is refused."""
    credential = register.credential(verdict.credential) if verdict.credential else None
    subscription = register.subscription(verdict.subscription) if verdict.subscription else None
    customer = register.customer(verdict.customer) if verdict.customer else None
    product = register.product(verdict.product) if verdict.product else None
    quota = verdict.quota
    return CheckAnswer(
        allowed=observes or verdict.code == CheckCode.VALID,
        code=CheckCode.OBSERVED.value if observes else verdict.code.value,
        would_be=verdict.code.value if observes else UNSET,
        check=check,
        credential=credential.public_id if credential else None,
        subscription=subscription.external_key if subscription else None,
        customer=customer.external_key if customer else None,
        product=product.external_key if product else None,
        environment=credential.environment if credential else None,
        tags=credential.tags if credential else (),
        quota=[
            QuotaAnswer(
                element=CALLS_ELEMENT,
                limit=quota.limit,
                used=quota.used,
                resets_at=quota.resets_at,
            )
        ]
        if quota
        else (),
        valid_until=verdict.valid_until,
        stale=stale,
    )


def headers_of(answer: CheckAnswer) -> dict[str, str]:
    """Return the whole set of headers, empty where there is nothing to say."""
    left = max(0, answer.quota[0].limit - answer.quota[0].used) if answer.quota else ""
    values = (
        *(answer.code, answer.credential, answer.subscription, answer.customer),
        *(answer.product, str(left), answer.check, answer.claim or ""),
    )
    return {
        name: (value if _is_plain(value) else quote(value, safe=PRINTABLE)) if value else ""
        for name, value in zip(HEADERS, values, strict=True)
    }


def forward_status(answer: CheckAnswer) -> HTTPStatus:
    """Return the status with which a gateway lets the call through or not."""
    return HTTPStatus.OK if answer.allowed else status_of(CheckCode(answer.code))


def forward_headers(answer: CheckAnswer, status: int) -> Mapping[str, str]:
    """Return all headers of an answer to `/v1/auth`."""
    headers = headers_of(answer) | {"Cache-Control": "no-store"}
    if answer.stale:
        headers["X-Revcred-Stale"] = "1"
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    return headers
