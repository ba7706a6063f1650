from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from revcred.actions import credentials
from revcred.models import KeyUse, Membership
from tests import factories

LISTING = "storefront:credentials"


@pytest.fixture
def owner(customer):
    return factories.a_subscriber(customer, Membership.Role.OWNER, "ada@example.com")


def text_of(answer):
    return " ".join(answer.content.decode().split())


def a_full_credential(customer, **fields):
    subscription = factories.a_subscription(customer)
    holders = [factories.a_subscriber(customer) for _ in range(2)]
    return factories.a_credential(customer, subscriptions=[subscription], holders=holders, **fields)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_list_asks_the_same_number_of_questions(
    browser, customer, rows, django_assert_num_queries
):
    for _ in range(rows):
        a_full_credential(customer)

    with django_assert_num_queries(11):
        browser.get(reverse(LISTING))


def test_the_list_says_what_a_credential_is(browser, customer, owner):
    subscription = factories.a_subscription(customer, name="Maps")
    credential = factories.a_credential(
        customer,
        key="a-key-that-ends-in-W1x2",
        name="checkout",
        environment="production",
        subscriptions=[subscription],
        holders=[owner],
    )
    KeyUse.objects.create(
        external_key=credential.keys.get(), last_used_at=timezone.now() - timedelta(hours=3)
    )

    page = text_of(browser.get(reverse(LISTING)))

    for said in (
        "checkout",
        "…W1x2",
        "production",
        "Active",
        "Maps",
        "ada@example.com",
        "3 hours ago",
    ):
        assert said in page


def test_the_list_is_searched_by_name_and_by_hint(browser, customer):
    factories.a_credential(customer, key="a-key-that-ends-in-W1x2", name="checkout")
    factories.a_credential(customer, key="a-key-that-ends-in-Q9q9", name="billing")

    def found(said):
        page = browser.get(reverse(LISTING), {"q": said}).context["page"]
        return [each.name for each in page]

    assert found("CHECK") == ["checkout"]
    assert found("Q9q9") == ["billing"]
    assert found("") == ["billing", "checkout"]
    assert found("neither") == []


def test_a_search_does_not_reach_beyond_what_is_ones_own(browser):
    factories.a_credential(key="a-key-that-ends-in-W1x2", name="checkout")

    for said in ("checkout", "W1x2"):
        assert not browser.get(reverse(LISTING), {"q": said}).context["page"].object_list


@pytest.mark.parametrize("line", ["{}", "Bearer {}", "x-api-key: {}", ' "{}" '])
def test_a_whole_key_is_found_and_is_in_no_address(browser, customer, line):
    key = "a-key-0f9-that-ends-in-W1x2"
    factories.a_credential(customer, key=key, name="checkout")
    factories.a_credential(customer, name="billing")

    response = browser.post(reverse(LISTING), {"q": line.format(key)}, follow=True)

    assert [each.name for each in response.context["page"]] == ["checkout"]
    assert key not in response.redirect_chain[0][0]
    assert key not in response.content.decode()


def test_a_key_in_the_address_does_not_stay_there(browser, customer):
    key = "a-key-0f9-that-ends-in-W1x2"
    factories.a_credential(customer, key=key)

    response = browser.get(reverse(LISTING), {"q": key}, follow=True)

    assert response.redirect_chain == [(reverse(LISTING), 302)]
    assert "address of that page contained a key" in text_of(response)


def test_a_key_of_somebody_else_is_as_unknown_as_any(browser):
    other, nobody_s = "a-key-0f9-of-another-W1x2", "a-key-0f9-of-nobody-W1x2"
    factories.a_credential(key=other)

    for key in (other, nobody_s):
        response = browser.post(reverse(LISTING), {"q": key}, follow=True)
        assert not response.context["page"].object_list
        assert key not in response.redirect_chain[0][0]
        assert browser.get(reverse(LISTING), {"q": key}).status_code == 200


def test_a_name_stays_in_the_address(browser, customer):
    factories.a_credential(customer, name="checkout")

    response = browser.post(reverse(LISTING), {"q": "check"}, follow=True)

    assert response.redirect_chain == [(f"{reverse(LISTING)}?q=check", 302)]


def test_a_long_list_is_cut_into_pages(browser, customer):
    for n in range(26):
        factories.a_credential(customer, name=f"number {n:02}")

    first, second = browser.get(reverse(LISTING)), browser.get(reverse(LISTING), {"page": 2})

    assert [len(each.context["page"]) for each in (first, second)] == [25, 1]
    assert "Page 1 of 2" in text_of(first)
    assert [each.name for each in second.context["page"]] == ["number 25"]


@pytest.mark.parametrize("page", ["0", "-1", "nonsense", "9" * 40])
def test_a_page_there_is_not_is_the_nearest_there_is(browser, page):
    assert browser.get(reverse(LISTING), {"page": page}).status_code == 200


def test_nothing_held_yet_says_what_to_do(customer, sign_in):
    member = factories.a_subscriber(customer)

    assert "You hold no credentials yet." in text_of(sign_in(member).get(reverse(LISTING)))


def test_a_rotation_is_there_to_be_followed(browser, customer):
    credential = factories.a_credential(customer, key="the-old-key-ends-in-OLDo")
    KeyUse.objects.create(
        external_key=credential.keys.get(), last_used_at=timezone.now() - timedelta(minutes=5)
    )
    credentials.rotate_credential(
        credential=credential, overlap=timedelta(days=3), by=None, key="the-new-key-ends-in-NEWn"
    )
    credentials.add_alias(credential=credential, alias="client-of-partner-ALIa", by=None)

    page = text_of(browser.get(reverse("storefront:credential", args=[credential.pk])))

    for said in ("…OLDo", "…NEWn", "…ALIa", "old key", "5 minutes ago", "alias"):
        assert said in page
    assert "its old key …OLDo ends" in text_of(browser.get(reverse("storefront:home")))


def test_a_viewer_is_offered_nothing_to_show(customer, sign_in):
    viewer = factories.a_subscriber(customer, Membership.Role.VIEWER)
    credential = factories.a_credential(customer, holders=[viewer])

    page = text_of(sign_in(viewer).get(reverse("storefront:credential", args=[credential.pk])))

    assert "Reveal key" not in page
    assert "Your role is viewer" in page


def test_a_revoked_one_says_why_and_offers_nothing_to_show(browser, customer):
    credential = factories.a_credential(customer)
    credentials.revoke_credential(credential=credential, reason="The contract has ended.", by=None)

    page = text_of(browser.get(reverse("storefront:credential", args=[credential.pk])))

    assert "“The contract has ended.”" in page
    assert "Reveal key" not in page


def test_where_it_went_and_when_is_told(browser, customer):
    before, after = (factories.a_subscription(customer, name=name) for name in ("Before", "After"))
    credential = factories.a_credential(customer, subscriptions=[before])
    moved = timezone.now() - timedelta(days=7)
    credentials.move_credential(
        credential=credential, subscription=before, to=after, by=None, at=moved
    )

    page = browser.get(reverse("storefront:credential", args=[credential.pk]))

    told = [
        (str(a.subscription), a.active_from, a.active_until) for a in page.context["assignments"]
    ]
    assert told == [("After", moved, None), ("Before", factories.LONG_AGO, moved)]


@pytest.mark.parametrize("rows", [1, 3])
def test_its_page_asks_the_same_number_of_questions(
    browser, customer, rows, django_assert_num_queries
):
    credential = a_full_credential(customer, key="the-first-key-of-several")
    for n in range(rows):
        credentials.add_alias(credential=credential, alias=f"alias-number-{n:08}", by=None)
        subscription = factories.a_subscription(customer)
        credentials.assign_subscription(credential=credential, subscription=subscription, by=None)
    factories.settled(
        *(
            factories.a_call("the-first-key-of-several", ago=timedelta(minutes=5))
            for _ in range(rows)
        )
    )

    with django_assert_num_queries(27):
        browser.get(reverse("storefront:credential", args=[credential.pk]))


def test_the_list_is_narrowed_by_state_and_says_how_many_there_are(browser, customer):
    now = timezone.now()
    used = factories.a_credential(customer, name="used")
    KeyUse.objects.create(external_key=used.keys.get(), last_used_at=now)
    rotating = factories.a_credential(customer, name="rotating")
    credentials.rotate_credential(credential=rotating, overlap=timedelta(days=1), by=None)
    suspended = factories.a_credential(customer, name="suspended")
    credentials.suspend_credential(credential=suspended, by=None)
    revoked = factories.a_credential(customer, name="revoked")
    credentials.revoke_credential(credential=revoked, reason="Over.", by=None)
    factories.a_credential(customer, name="expired", expires_at=now - timedelta(days=1))
    factories.a_credential(name="of others")

    def shown(**query):
        page = browser.get(reverse(LISTING), query)
        return [each.name for each in page.context["page"]]

    chips = browser.get(reverse(LISTING)).context["chips"]
    assert {value: number for value, _, number, _ in chips} == {
        "all": 5,
        "active": 2,
        "rotating": 1,
        "unused": 2,
        "suspended": 1,
        "over": 2,
    }
    assert shown(show="active") == ["rotating", "used"]
    assert shown(show="rotating") == ["rotating"]
    assert shown(show="unused") == ["rotating", "suspended"]
    assert shown(show="suspended") == ["suspended"]
    assert shown(show="over") == ["expired", "revoked"]
    assert len(shown(show="nonsense", order="nonsense")) == 5
    assert shown(order="used")[0] == "used"
    assert shown(order="created")[0] == "expired"
    assert shown(show="over", q="exp") == ["expired"]


def test_a_state_that_nothing_is_in_says_so(browser, customer):
    factories.a_credential(customer)

    page = text_of(browser.get(reverse(LISTING), {"show": "suspended"}))

    assert "No credential is in this state." in page
