"""Search for credentials and customers by anything known of them, each query by an index."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Lower

from revcred import pasting
from revcred.admin_toolkit.lists import ids_found_by_any, rows_starting_with
from revcred.fingerprints import HINT_LENGTH
from revcred.models import Assignment, Credential, Customer, ExternalKey, Subscriber, Subscription


def credential_search_queries(term: str) -> list[QuerySet[Any]]:
    """Return queries for ids of credentials: by name, hint, holder, customer or subscription."""
    found = [
        rows_starting_with(Credential.objects.all(), "name", term).values("pk"),
        Credential.objects.filter(customer__in=customers_named(term)).values("pk"),
        *_by_subscription(term),
    ]
    # A hint matches only in full, so other terms need not ask for it.
    if len(term) == HINT_LENGTH:
        found.append(ExternalKey.objects.filter(hint=term).values("credential"))
    # Holders are found by their whole address only.
    if "@" in term:
        holders = Credential.holders.through.objects
        found.append(
            holders.filter(subscriber__in=subscribers_with_email(term)).values("credential")
        )
    return found


def credentials_with_fingerprint(key_fingerprint: UUID) -> QuerySet[Credential]:
    """Return the credentials that have or had this key, one after the other."""
    keys = ExternalKey.objects.filter(fingerprint=key_fingerprint)
    return Credential.objects.filter(pk__in=keys.values("credential"))


def may_be_key_of_credential(term: str) -> bool:
    """Return True if the term may be a key, and must stay out of URLs, which get logged.

    A long word that finds no credential by name or otherwise counts as one.
    """
    if pasting.is_known_key(term):
        return True
    if "@" in term or " " in term or len(term) <= HINT_LENGTH:
        return False
    return not Credential.objects.filter(
        pk__in=ids_found_by_any(credential_search_queries(term))
    ).exists()


def _by_subscription(term: str) -> list[QuerySet[Any]]:
    """Return queries for credentials assigned to subscriptions with this key or name."""
    by_key: QuerySet[Any] = Subscription.objects.filter(external_key__startswith=term)
    by_name = rows_starting_with(Subscription.objects.all(), "name", term)
    return [
        Assignment.objects.filter(subscription__in=each).values("credential")
        for each in (by_key, by_name)
    ]


def customers_named(term: str) -> QuerySet[Customer]:
    """Return customers whose name or external key starts with the term."""
    return Customer.objects.filter(pk__in=ids_found_by_any(customer_search_queries(term)))


def subscribers_with_email(term: str) -> QuerySet[Subscriber]:
    """Return the subscribers with this e-mail address, in any case of letters."""
    return Subscriber.objects.alias(lowered=Lower("email")).filter(lowered=term.lower())


def customer_search_queries(term: str) -> list[QuerySet[Any]]:
    """Return queries for ids of customers by name or external key."""
    return [
        rows_starting_with(Customer.objects.all(), "name", term).values("pk"),
        Customer.objects.filter(external_key__startswith=term).values("pk"),
    ]
