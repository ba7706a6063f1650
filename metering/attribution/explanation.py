"""Explain the verdict on one call: what each rule asks, what was found, and where it stopped."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from uuid import UUID

from django.db import models
from django.db.models import Q

from metering.attribution.hypothetical import HypotheticalCall, JudgedCall
from metering.attribution.rules import SourceCoverage
from metering.models import MatchedBy, QuarantineReason
from revcred.models import (
    Assignment,
    Credential,
    ExternalKey,
    Gateway,
    Source,
    Subscription,
)
from revcred.models.periods import DatedModel, last_possible_moment
from revcred.public_ids import public_id_of
from revcred.time_zones import moment_with_zone

MAX_CANDIDATES_EXPLAINED = 20
NO_FINGERPRINT = UUID(int=0)  # which no key has


class Outcome(Enum):
    """What a rule said of the call."""

    PASSED = "passed"
    FAILED = "failed"
    NOTED = "noted"  # it decides nothing here


@dataclass(frozen=True, kw_only=True)
class VerdictStep:
    """One rule: its question, what it found, and the thing that the sentence is about."""

    question: str
    outcome: Outcome
    sentence: str
    about: models.Model | None = None


def explain_verdict(
    call: HypotheticalCall, judged: JudgedCall, *, now: datetime
) -> list[VerdictStep]:
    """Return the steps of the verdict in the order of the rules, up to the one that failed."""
    steps: list[VerdictStep] = []
    for step in _all_steps(call, judged, now):
        steps.append(step)
        if step.outcome is Outcome.FAILED:
            break
    # Of rules that compare names only attribution itself knows the details.
    if judged.reason and all(step.outcome is not Outcome.FAILED for step in steps):
        steps.append(_failed("Do all names agree and lead somewhere?", f"{judged.reason.label}."))
    return steps


def _all_steps(call: HypotheticalCall, judged: JudgedCall, now: datetime) -> Iterator[VerdictStep]:
    gateway = Gateway.objects.get(pk=call.gateway_id)
    yield _gateway_step(gateway)
    yield _moment_step(call, gateway, now)
    if judged.matched_by == MatchedBy.NAME:
        return
    credential = (yield from _key_steps(call, judged)) if call.fingerprint else None
    source = Source.objects.filter(pk=judged.source_id).first() if judged.source_id else None
    yield _source_step(call, source)
    if credential:
        yield from _candidate_steps(call, credential, source, judged)
    elif call.subscription_named and not call.fingerprint:
        yield _named_step(call, judged)


def _gateway_step(gateway: Gateway) -> VerdictStep:
    question = "May this gateway report calls?"
    if gateway.suspended_at:
        sentence = f"It is suspended from {_text(gateway.suspended_at)}: its posts are refused."
        return _failed(question, sentence, gateway)
    return _passed(question, "Yes. It is not suspended.", gateway)


def _moment_step(call: HypotheticalCall, gateway: Gateway, now: datetime) -> VerdictStep:
    question = "Is the moment accepted?"
    oldest, newest = gateway.accepted_period(now)
    if call.outside or not oldest <= call.occurred_at <= newest:
        sentence = (
            f"Calls are accepted from {_text(oldest)} to {_text(newest)}. Others are rejected; of"
            " clients that read no rejection they wait, until an admin chooses a moment."
        )
        return _failed(question, sentence)
    return _passed(question, f"Yes. Calls are accepted from {_text(oldest)} on.")


def _key_steps(
    call: HypotheticalCall, judged: JudgedCall
) -> Generator[VerdictStep, None, Credential | None]:
    """Yield what is found of the call's key, and return the credential that has it then."""
    question = "Does a credential have this key at that moment?"
    fingerprint = call.fingerprint or NO_FINGERPRINT
    same = ExternalKey.objects.filter(fingerprint=fingerprint).select_related(
        "credential__customer", "gateway"
    )
    here = list(same.filter(Q(gateway=None) | Q(gateway=call.gateway_id)))
    key = next((each for each in here if each.pk == judged.external_key_id), None)
    named = Credential.objects.filter(public_id=public_id_of(fingerprint)).first()
    if named and key is None:
        sentence = f"Yes: it is the public id of {named} of {named.customer}."
        yield _passed(question, sentence, named)
        yield _validity_step(call, named)
        return named
    if not here:
        elsewhere = same.first()
        sentence = (
            f"Only at the gateway {elsewhere.gateway}." if elsewhere else "No credential has it."
        )
        yield _failed(question, sentence, elsewhere and elsewhere.credential)
        return None
    if key is None:
        periods = "; ".join(f"{each.credential} {_period(each)}" for each in here)
        yield _failed(question, f"Not then: {periods}.", here[0].credential)
        return None
    credential = key.credential
    sentence = f"Yes: {credential} of {credential.customer}, {_period(key)}."
    yield _passed(question, sentence, credential)
    yield _validity_step(call, credential)
    return credential


def _validity_step(call: HypotheticalCall, credential: Credential) -> VerdictStep:
    question = "Was the credential valid then?"
    at = call.occurred_at
    if credential.revoked_at and credential.revoked_at <= at:
        return _failed(question, f"Revoked since {_text(credential.revoked_at)}.", credential)
    if credential.expires_at and credential.expires_at <= at:
        return _failed(question, f"Expired since {_text(credential.expires_at)}.", credential)
    last = last_possible_moment(at)
    for suspension in credential.suspensions.filter(active_from__lte=at):
        if suspension.outlasts(last):
            return _failed(question, f"Suspended {_period(suspension)}.", credential)
    return _passed(question, "Yes.")


def _source_step(call: HypotheticalCall, source: Source | None) -> VerdictStep:
    question = "Which source was called?"
    if source:
        how = "named by the call" if call.source_named else "found by its path"
        return VerdictStep(
            question=question,
            outcome=Outcome.NOTED,
            sentence=f"{source}, {how}.",
            about=source,
        )
    if call.source_named:
        sentence = f"“{call.source_named[:60]}” is no source."
    elif call.path:
        sentence = "None: no path rule fits the path."
    else:
        sentence = "None: the call names no source and no path."
    return VerdictStep(question=question, outcome=Outcome.NOTED, sentence=sentence)


def _candidate_steps(
    call: HypotheticalCall, credential: Credential, source: Source | None, judged: JudgedCall
) -> Iterator[VerdictStep]:
    """Yield each subscription that the credential was ever assigned to, and whether one fits."""
    assignments = credential.assignments.select_related("subscription__product")
    for assignment in assignments[:MAX_CANDIDATES_EXPLAINED]:
        obstacle = _obstacle_of(call, assignment, source)
        yield VerdictStep(
            question=f"Does “{assignment.subscription}” fit?",
            outcome=Outcome.NOTED,
            sentence=obstacle or f"Yes. Charged {_period(assignment)}.",
            about=assignment.subscription,
        )
    question = "Does exactly one subscription fit?"
    if judged.subscription_id and not judged.reason:
        chosen = Subscription.objects.get(pk=judged.subscription_id)
        yield _passed(question, f"Yes: {chosen}.", chosen)
    elif judged.reason in (
        QuarantineReason.NO_SUBSCRIPTION,
        QuarantineReason.AMBIGUOUS,
        QuarantineReason.SUBSCRIPTION_MISMATCH,
    ):
        yield _failed(question, f"{judged.reason.label}.", credential)


def _obstacle_of(
    call: HypotheticalCall, assignment: Assignment, source: Source | None
) -> str | None:
    """Return why the subscription does not take the call; None if it fits."""
    first, last = call.occurred_at, last_possible_moment(call.occurred_at)
    subscription = assignment.subscription
    if not assignment.holds_within(first, last):
        return f"No: it is charged {_period(assignment)} only."
    if not subscription.holds_within(first, last):
        return f"No: the subscription is active {_period(subscription)} only."
    if call.subscription_named and subscription.external_key != call.subscription_named:
        return f"No, unless “{call.subscription_named[:60]}” is a former name of it."
    product = subscription.product
    coverage = SourceCoverage(
        sources=set(product.sources.values_list("external_key", flat=True)),
        restricted=product.restricted,
        also_without_source=product.also_without_source,
    )
    if not coverage.includes(source.external_key if source else call.source_named):
        return f"No: the product {product} does not count {source or 'calls of no source'}."
    return None


def _named_step(call: HypotheticalCall, judged: JudgedCall) -> VerdictStep:
    question = f"Is there a subscription “{(call.subscription_named or '')[:60]}” then?"
    if judged.subscription_id and not judged.reason:
        chosen = Subscription.objects.get(pk=judged.subscription_id)
        return _passed(question, f"Yes: {chosen}.", chosen)
    having_it = Subscription.objects.filter(external_key=call.subscription_named)
    known = list(having_it[:MAX_CANDIDATES_EXPLAINED])
    if not known:
        return _failed(question, "No subscription has this external key.")
    periods = "; ".join(f"{each} {_period(each)}" for each in known)
    reason = judged.reason.label if judged.reason else ""
    return _failed(question, f"{reason}. Active: {periods}.", known[0])


def _passed(question: str, sentence: str, about: models.Model | None = None) -> VerdictStep:
    return VerdictStep(question=question, outcome=Outcome.PASSED, sentence=sentence, about=about)


def _failed(question: str, sentence: str, about: models.Model | None = None) -> VerdictStep:
    return VerdictStep(question=question, outcome=Outcome.FAILED, sentence=sentence, about=about)


def _period(dated: DatedModel) -> str:
    until = f"until {_text(dated.active_until)}" if dated.active_until else "on"
    return f"from {_text(dated.active_from)} {until}"


def _text(moment: datetime) -> str:
    return moment_with_zone(moment)
