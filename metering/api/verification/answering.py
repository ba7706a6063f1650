"""Answers to checks, the same from the database and from the memory of a process.

`RegisterOf` returns what the checks of some calls look up.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qs
from uuid import UUID

import msgspec

from metering.api.verification.answers import (
    OFF_ANSWER,
    CheckAnswer,
    answer_of,
)
from metering.api.verification.questions import (
    CheckedCall,
    InvalidQuestion,
    SourceNamed,
    decode_questions,
    fingerprint_of,
    known_source,
    read_question,
)
from metering.inbox.calls import strip_url_to_path
from metering.models.check_codes import CheckCode
from metering.verification.askers import Asker
from metering.verification.check_metrics import STALE_CHECKS, check_counter
from metering.verification.checking import CallAhead, Verdict, judge_ahead
from metering.verification.facts import Register
from metering.verification.refused_calls import Refused, new_receipt_id
from metering.verification.signed_claims import ClaimSigner
from revcred.models import Gateway

# Returns the claim about the owner of a call, by the gateway that asked and the answer.
SignClaim = Callable[[Asker, CheckAnswer, datetime], str]
RegisterOf = Callable[[Sequence[CallAhead]], Register]
AUTH_PATH = "/v1/auth"
VERIFY_PATH = "/v1/verify"
SIGNING_KEYS_PATH = "/.well-known/jwks.json"
SOURCE_HEADER = "x-revcred-source"
# By what the proxies send: nginx and HAProxy in our recipes, Caddy and Traefik by themselves.
URI_HEADERS = ("x-original-uri", "x-forwarded-uri")
METHOD_HEADERS = ("x-original-method", "x-forwarded-method")


@dataclass(kw_only=True)
class Checker:
    """Judges the calls of one request, and gathers the receipts of those that are refused."""

    asker: Asker
    now: datetime
    register_of: RegisterOf
    source_named: SourceNamed
    sign_claim: SignClaim
    stale: bool = False
    refused: list[Refused] = field(default_factory=list)

    def answer_questions(self, body: bytes) -> CheckAnswer | list[CheckAnswer]:
        """Return the answers to the questions of a body.

        Raises:
            MalformedRequest: the body, or a question in it, cannot be read.
            PermissionDenied: the token may not ask this.
        """
        self.asker.check_scope()
        questions, is_many = decode_questions(body)
        checked = [
            read_question(
                question,
                gateway=self.asker.gateway,
                at=self.now,
                scopes=self.asker.scopes,
                source_named=self.source_named,
                index=index if is_many else None,
            )
            for index, question in enumerate(questions)
        ]
        # Those who ask for many warm a cache: signing each would hold up all other checks.
        answers = self._judge(checked, signed=not is_many)
        return answers if is_many else answers[0]

    def answer_forwarded(self, request: "ForwardedRequest", key: str | None) -> CheckAnswer:
        """Return the answer about the call whose headers a gateway passes on, with its key.

        Raises:
            InvalidQuestion: the key or the source cannot be read.
            PermissionDenied: the token may not ask.
        """
        self.asker.check_scope()
        if self.asker.mode == Gateway.CheckMode.OFF:
            check_counter(self.asker.name, CheckCode.OFF).inc()
            return OFF_ANSWER
        path = request.called_path
        source = request.headers.get(SOURCE_HEADER) or None
        call = CallAhead(
            gateway=self.asker.gateway,
            at=self.now,
            fingerprint=fingerprint_of(key, "key") if key and key.strip() else NO_KEY,
            source=known_source(source, self.source_named, self.now),
            path=path,
        )
        checked = CheckedCall(call=call, method=request.called_method, path=path)
        (answer,) = self._judge([checked], signed=True)
        return answer

    def _judge(self, checked: Sequence[CheckedCall], *, signed: bool) -> list[CheckAnswer]:
        if self.asker.mode == Gateway.CheckMode.OFF:
            check_counter(self.asker.name, CheckCode.OFF).inc(len(checked))
            return [OFF_ANSWER] * len(checked)
        register = self.register_of([each.call for each in checked])
        return [self._answer(each, register, signed=signed) for each in checked]

    def _answer(self, checked: CheckedCall, register: Register, *, signed: bool) -> CheckAnswer:
        verdict = judge_ahead(
            checked.call, register, refuse_over_quota=self.asker.refuses_over_quota
        )
        check_counter(self.asker.name, verdict.code).inc()
        if self.stale:
            STALE_CHECKS.inc()
        receipt = None
        if verdict.code != CheckCode.VALID and not self.asker.is_test:
            receipt = self._receipt(checked, verdict)
        answer = answer_of(
            verdict,
            register,
            observes=self.asker.observes,
            check=str(receipt.id) if receipt else None,
            stale=self.stale,
        )
        if signed and self.asker.signs_claims and verdict.code == CheckCode.VALID:
            answer.claim = self.sign_claim(self.asker, answer, self.now)
        return answer

    def _receipt(self, checked: CheckedCall, verdict: Verdict) -> Refused:
        receipt = Refused(
            id=new_receipt_id(),
            at=self.now,
            gateway=self.asker.gateway,
            credential=verdict.credential,
            code=verdict.code.value,
            method=checked.method,
            path=checked.path,
            observed=self.asker.observes,
        )
        self.refused.append(receipt)
        return receipt


def sign_claim(signer: ClaimSigner, asker: Asker, answer: CheckAnswer, now: datetime) -> str:
    """Return the claim for the backend that gets the call of this answer."""
    return signer.sign(
        audience=asker.name,
        now=now,
        credential=answer.credential,
        subscription=answer.subscription,
        customer=answer.customer,
        product=answer.product,
        environment=answer.environment,
        tags=answer.tags,
    )


# A caller without a key is answered, counted and shown like one with an unknown key.
NO_KEY = UUID(int=0)


class ForwardedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a gateway about one call. `headers`: by lower-case names."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @property
    def called_uri(self) -> str:
        """Return path and query of the call, from a header or from what Envoy appends."""
        for name in URI_HEADERS:
            if uri := self.headers.get(name):
                return uri
        path = self.path.removeprefix(AUTH_PATH)
        return f"{path}?{self.query}" if self.query else path

    @property
    def called_path(self) -> str:
        return strip_url_to_path(self.called_uri)

    @property
    def called_method(self) -> str:
        named = [self.headers[name] for name in METHOD_HEADERS if name in self.headers]
        return named[0] if named else self.method

    def find_key(self, asker: Asker) -> str | None:
        """Return the caller's key from where the gateway says it is. Raises InvalidQuestion."""
        if asker.key_place == Gateway.KeyPlace.QUERY:
            return self._key_in_query(asker.key_name)
        return find_key_in_headers(asker, self.headers)

    def _key_in_query(self, name: str) -> str | None:
        _, _, query = self.called_uri.partition("?")
        members = parse_qs(query.partition("#")[0], keep_blank_values=True, max_num_fields=1_000)
        found = [
            value
            for member, values in members.items()
            if member.lower() == name
            for value in values
        ]
        if len(found) > 1:
            message = "key: the address has several of them."
            raise InvalidQuestion("key", "several", message)
        return found[0] if found else None


def find_key_in_headers(asker: Asker, headers: Mapping[str, str]) -> str | None:
    """Return the caller's key, or None also where it is in the address."""
    if asker.key_place == Gateway.KeyPlace.HEADER:
        return headers.get(asker.key_name)
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() != asker.key_place:
        return None
    return rest if asker.key_place == Gateway.KeyPlace.BEARER else _user_of(rest)


def _user_of(encoded: str) -> str | None:
    """Return the user of a header `Authorization: Basic`, or None if it cannot be read."""
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return text.partition(":")[0]
