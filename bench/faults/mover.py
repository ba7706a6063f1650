"""Who has what changes while transactions come in, by the application's own acts.

An act whose answer was lost is tried again, as a person would; "done already" then means done.
To be imported where the application is configured.
"""

import random
import time
from contextlib import suppress
from datetime import datetime, timedelta

from django.utils import timezone

from bench.faults.insisting import LOST_ROWS, ask, insist
from bench.faults.world import (
    CREDENTIALS,
    CUSTOMERS,
    GATEWAYS,
    LONG_AGO,
    SUBSCRIPTIONS,
    Known,
    Link,
    Period,
    World,
    is_foreign,
    is_late,
    key,
    others,
)
from metering.models import GatewayToken
from revcred.actions import credentials
from revcred.models import Credential, Customer, Gateway, Product, Subscription

BACK = timedelta(minutes=10)  # how far into the past a move may reach
AHEAD = timedelta(minutes=5)


class Mover:
    def __init__(self, chance: random.Random) -> None:
        self.world: World = {}
        self._chance = chance
        self._credentials: dict[str, Credential] = {}
        self._subscriptions: list[list[Subscription]] = []  # by customer
        self._late = [n for n in range(CUSTOMERS * CREDENTIALS) if is_late(n)]
        self._chance.shuffle(self._late)

    def seed(self) -> dict[str, tuple[int, str]]:
        """All customers, and the credentials that are there from the start. Ids and tokens."""
        product = Product.objects.create(name="Maps", external_key="maps")
        for number in range(CUSTOMERS):
            name = f"customer-{number}"
            customer = Customer.objects.create(name=name, external_key=name)
            self._subscriptions.append(
                [
                    Subscription.objects.create(
                        customer=customer,
                        product=product,
                        external_key=f"{name}-{each}",
                        active_from=LONG_AGO,
                    )
                    for each in range(SUBSCRIPTIONS)
                ]
            )
        for number in range(CUSTOMERS * CREDENTIALS):
            if not is_late(number) and not is_foreign(number):
                self._issue(number, since=LONG_AGO)
        gateways = [Gateway.objects.create(name=name) for name in GATEWAYS]
        return {
            each.name: (each.pk, GatewayToken.issue(each, name="", scopes=["transactions:post"])[1])
            for each in gateways
        }

    def act(self) -> None:
        """Change one credential; note which, and from when until when."""
        acts = (self._move, self._issue_late, self._suspend_or_resume, self._revoke)
        began = time.time()
        # A credential that was lost is found by the judge.
        with suppress(*LOST_ROWS):
            if text := self._chance.choices(acts, weights=(14, 3, 3, 1))[0]():
                self.world[text].changes.append((began, time.time()))

    def _issue_late(self) -> str | None:
        return self._issue(self._late.pop()) if self._late else None

    def _issue(self, number: int, since: datetime | None = None) -> str:
        """Without `since` its key counts as far back as transactions are accepted."""
        text = key(number)
        subscription = self._chance.choice(self._subscriptions[number % CUSTOMERS])
        insist(
            lambda: credentials.issue_credential(
                customer=subscription.customer,
                name=text,
                new_key=credentials.NewKey(key=text, active_from=since),
                subscriptions=[subscription],
                by=None,
            ),
            credentials.CredentialNameInUse,
        )
        credential = ask(lambda: Credential.objects.get(name=text))
        began = ask(lambda: credential.keys.get().active_from)
        self._credentials[text] = credential
        links = [Link(began, subscription=subscription.pk)]
        self.world[text] = Known(began, links, issued_at=time.time() if since is None else 0.0)
        return text

    def _some(self) -> tuple[str, Known]:
        """One that is not revoked."""
        return self._chance.choice(
            [(text, known) for text, known in self.world.items() if not known.revoked_at]
        )

    def _move(self) -> str:
        text, known = self._some()
        siblings = next(
            each
            for each in self._subscriptions
            if known.current.subscription in {one.pk for one in each}
        )
        by_number = {each.pk: each for each in siblings}
        to = self._chance.choice(others(list(by_number), known.current.subscription))
        at = self._moment(known.current.since)
        insist(
            lambda: credentials.move_credential(
                credential=self._credentials[text],
                subscription=by_number[known.current.subscription],
                to=by_number[to],
                by=None,
                at=at,
            ),
            credentials.NotAssigned,
        )
        known.move(to, at)
        return text

    def _moment(self, after: datetime) -> datetime:
        """Now, or in the past or a little ahead, but later than what began last."""
        now = timezone.now()
        moment = self._chance.choice(
            (now, now - BACK * self._chance.random(), now + AHEAD * self._chance.random())
        )
        return max(moment, after + timedelta(seconds=1))

    def _suspend_or_resume(self) -> str:
        text, known = self._some()
        credential = self._credentials[text]
        change = (
            credentials.resume_credential if known.suspended else credentials.suspend_credential
        )
        insist(lambda: change(credential=credential, by=None))
        kept = ask(lambda: list(credential.suspensions.order_by("active_from")))
        known.suspensions = [Period(each.active_from, each.active_until) for each in kept]
        return text

    def _revoke(self) -> str | None:
        if sum(known.revoked_at is None for known in self.world.values()) < len(self.world) / 2:
            return None
        text, known = self._some()
        credential = self._credentials[text]
        insist(
            lambda: credentials.revoke_credential(
                credential=credential, reason="On trial", by=None
            ),
            credentials.CredentialRevoked,
        )
        ask(credential.refresh_from_db)
        known.revoked_at = credential.revoked_at
        return text
