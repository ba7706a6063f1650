"""Search for credentials and customers by anything known of them, each query by an index."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Lower

from revcred import pasting
from revcred.admin_toolkit.lists import ids_found_by_any, rows_containing, rows_starting_with
from revcred.fingerprints import HINT_LENGTH
from revcred.models import Assignment, Credential, Customer, ExternalKey, Subscriber, Subscription
from revcred.public_ids import public_id_fingerprint

# Customers and subscriptions whose credentials a search finds: each costs a look-up.
MAX_OWNERS = 200


def credential_search_queries(term: str) -> list[QuerySet[Any]]:
    """Return queries for ids of credentials.

    By name, hint, public id, holder, customer or subscription.
    """
    subscriptions = _owner_ids(_own_subscription_queries(term))
    found = [
        rows_starting_with(Credential.objects.all(), "name", term).values("pk"),
        rows_containing(Credential.objects.all(), term, "name").values("pk"),
        # Ids, not subqueries: for these PostgreSQL would read all credentials.
        Credential.objects.filter(customer__in=customer_ids(term)).values("pk"),
        Assignment.objects.filter(subscription__in=subscriptions).values("credential"),
    ]
    # A hint matches only in full, so other terms need not ask for it.
    if len(term) == HINT_LENGTH:
        found.append(ExternalKey.objects.filter(hint=term).values("credential"))
    if public_id_fingerprint(term):
        found.append(Credential.objects.filter(public_id=term).values("pk"))
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


def _own_subscription_queries(term: str) -> list[QuerySet[Any]]:
    """Return queries for ids of subscriptions with this external key or name."""
    return [
        Subscription.objects.filter(external_key__startswith=term).values("pk"),
        rows_starting_with(Subscription.objects.all(), "name", term).values("pk"),
        rows_containing(Subscription.objects.all(), term, "name", "external_key").values("pk"),
    ]


def subscription_search_queries(term: str) -> list[QuerySet[Any]]:
    """Return queries for ids of subscriptions by external key, name or customer."""
    of_customers = Subscription.objects.filter(customer__in=customer_ids(term)).values("pk")
    return [*_own_subscription_queries(term), of_customers]


def subscriber_search_queries(term: str) -> list[QuerySet[Any]]:
    """Return queries for ids of subscribers by address, name or external key."""
    texts = ("email", "name", "external_key")
    return [
        subscribers_with_email(term).values("pk"),
        Subscriber.objects.filter(email__startswith=term.lower()).values("pk"),
        Subscriber.objects.filter(external_key__startswith=term).values("pk"),
        rows_containing(Subscriber.objects.all(), term, *texts).values("pk"),
    ]


def customer_ids(term: str) -> list[int]:
    """Return the ids of customers whose name or external key has the words of the term."""
    return _owner_ids(customer_search_queries(term))


def _owner_ids(queries: list[QuerySet[Any]]) -> list[int]:
    found = ids_found_by_any(queries, most=MAX_OWNERS)
    return list(found.values_list("pk", flat=True))


def subscribers_with_email(term: str) -> QuerySet[Subscriber]:
    """Return the subscribers with this e-mail address, in any case of letters."""
    return Subscriber.objects.alias(lowered=Lower("email")).filter(lowered=term.lower())


def customer_search_queries(term: str) -> list[QuerySet[Any]]:
    """Return queries for ids of customers by name or external key."""
    return [
        rows_starting_with(Customer.objects.all(), "name", term).values("pk"),
        Customer.objects.filter(external_key__startswith=term).values("pk"),
        rows_containing(Customer.objects.all(), term, "name", "external_key").values("pk"),
    ]
