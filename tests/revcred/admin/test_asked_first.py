"""Every page that changes something asks first, with figures, or says here why it need not."""

import sys

import pytest
from django.db.transaction import atomic, set_rollback

from tests.revcred.admin import matrix
from tests.revcred.admin.test_matrix import Matrix, carried_of, nothing_drawn, place

__all__ = ["place"]

pytestmark = pytest.mark.django_db(transaction=True)

READ = "It shows what is held about a person, on record, and changes nothing."
NEW = "Something new changes nothing there is. Calls that wait for it move, and that is asked."
NAMED = "A name or a fact that no call is counted by. Calls that name it so move: that is asked."
NO_ACCESS = "It changes nobody's access and no charge."
SEPARATE = "The page itself shows the figures, above the button: see {}."
DJANGO = "Django's own page asks, and names what goes along. Nothing depends on what is deleted."

LIST_MADE = "A list is made and waits to be checked. Nothing is written of it."

# Of every list, by the end of the name.
ON_EVERY_LIST = {
    "_export-list": "It takes what the page shows, on record, and changes nothing.",
    "_save-view": "A list's address under a name, for oneself.",
}
# Pages that do it at once, each with the reason.
AT_ONCE = {
    "auth_group_add": NEW,
    "auth_group_change": NAMED,
    "metering_delivery_try-again": "What waits is counted sooner, and as it would be anyway.",
    "metering_discoveredsource_enter": NEW,
    "metering_quarantined_many-put-back": NO_ACCESS,
    "metering_quarantined_many-review": NO_ACCESS,
    "metering_quarantined_put-back": NO_ACCESS,
    "metering_quarantined_review": NO_ACCESS,
    "revcred_appearance_change": "Looks and texts: no call, key or person is concerned.",
    "revcred_auditevent_undo": "The page says each value that is restored. Moves are asked.",
    "revcred_credential_add": NEW,
    "revcred_credential_add-alias": NEW,
    "revcred_credential_change": NAMED,
    "revcred_credential_many-extend": LIST_MADE,
    "revcred_credential_many-move": LIST_MADE,
    "revcred_credential_many-tag": LIST_MADE,
    "revcred_customer_add": NEW,
    "revcred_customer_change": NAMED,
    "revcred_customer_delete": DJANGO,
    "revcred_gateway_add": NEW,
    "revcred_gateway_change": NAMED,
    "revcred_gateway_issue-token": "A gateway's further token: the others are as they were.",
    "revcred_product_add": NEW,
    "revcred_product_change": NAMED,
    "revcred_product_delete": DJANGO,
    "revcred_source_add": NEW,
    "revcred_source_change": NAMED,
    "revcred_source_delete": DJANGO,
    "revcred_subscriber_add": NEW,
    "revcred_subscriber_cancel-address": "A new address that does not count yet is dropped.",
    "revcred_subscriber_change": "A new address waits for its confirmation from there.",
    "revcred_subscriber_delete": DJANGO,
    "revcred_subscriber_export": READ,
    "revcred_subscriber_invite": "The page says what the link does. It works for one person.",
    "revcred_subscriber_look": READ,
    "revcred_subscription_add": NEW,
    "revcred_subscription_change": NAMED,
    "revcred_subscription_delete": DJANGO,
    "revcred_subscription_many-extend": LIST_MADE,
    "revcred_upload_add": "A file waits to be checked. Nothing is written of it.",
    "revcred_upload_apply": SEPARATE.format("tests/metering/test_moves_of_lists.py"),
    "revcred_upload_cancel": "Nothing is written of it.",
    "revcred_upload_choices": "It is checked again. Nothing is written of it.",
    "revcred_upload_columns": "It is checked. Nothing is written of it.",
    "revcred_upload_undo": SEPARATE.format("tests/metering/test_moves_of_lists.py"),
    "revcred_user_add": "A login without a password and without rights.",
    "revcred_user_cancel-address": "A new address that does not count yet is dropped.",
    "revcred_user_change": "Names, and new addresses, which wait for their confirmation.",
    "revcred_user_export": READ,
    "revcred_user_password-link": "The page says what the link does. The password stays.",
    "revcred_user_reset-second-factor": "The page says what is removed; the person is told.",
    "revcred_usertoken_add": "A token for oneself, for no more than one may.",
    "revcred_user_end-sessions": "The person signs in again.",
    "revcred_user_sign-out-everywhere": "Its own page says that tokens end with it.",
}


def test_every_page_that_changes_something_asks_first_or_is_listed(place, capsys):
    asked = Matrix(place)
    client = asked.clients["superuser"]
    user = asked.world.actors["superuser"]
    at_once, with_figures, without_figures = set(), set(), []
    cases = matrix.cases(asked.world)
    for page, of_page in cases.items():
        for case in of_page:
            url = matrix.address_of(page, case, asked.world, user)
            said = asked.said(page, case, user, url)
            with atomic(), nothing_drawn():
                with matrix.Writes() as writes:
                    response = client.post(url, said)
                    wrote = writes.so_far()
                set_rollback(True)
            response.close()
            client.cookies.pop("messages", None)
            asked.restore(url, wrote)
            if carried_of(response):
                with_figures.add(page)
                if not has_figures(response.context_data):
                    without_figures.append((page, case.target))
            elif wrote and response.status_code < 400:
                at_once.add(page)
    with capsys.disabled():
        sys.stdout.write(f" {len(with_figures)} pages ask, {len(at_once)} do it at once ")

    listed = {*AT_ONCE}
    at_once = {page for page in at_once if not page.endswith(tuple(ON_EVERY_LIST))}
    assert (without_figures, at_once - listed, listed - at_once) == ([], set(), set())


def has_figures(context) -> bool:
    said = [*map(str, context["question"].effects), *context["question"].new_members]
    return context["found"].moves_calls or any(map(str.isdigit, "".join(said)))
