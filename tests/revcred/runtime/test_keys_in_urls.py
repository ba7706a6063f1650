"""No address that anybody is led to has a key in it: whoever asks, and however, at any page."""

from urllib.parse import unquote, urlencode

import pytest
from allauth.urls import urlpatterns as allauth_patterns
from django.conf import settings
from django.test import Client
from django.urls import NoReverseMatch, get_resolver, reverse

from revcred.actions.credentials import generate_key
from revcred.models import Membership
from tests import factories
from tests.lengths import mostly_long
from tests.second_factors import an_app, give_password

pytestmark = pytest.mark.django_db

KNOWN = "aKnown-K3y-0f9harbour"
UNKNOWN = "unKnown-0f.harbour9x"
OWN = generate_key()
LINES = ["Authorization: Bearer {}", "{}", "Bearer {}", "x-api-key: {}"]
METHODS = ["post", "get", "head", "put", "patch", "delete", "options"]
ADMIN, STOREFRONT = reverse("admin:index"), reverse("storefront:home")
LOGIN = reverse("account_login")


def doors(resolver=None, namespace=""):
    """Every page that can be named without knowing a row."""
    for pattern in (resolver or get_resolver()).url_patterns:
        if hasattr(pattern, "url_patterns"):
            inside = ":".join(filter(None, (namespace, pattern.namespace)))
            yield from doors(pattern, inside)
        elif pattern.name:
            try:
                yield reverse(":".join(filter(None, (namespace, pattern.name))))
            except NoReverseMatch:
                continue


PAGES = sorted(
    each
    for each in {*doors()}
    if not each.startswith(("/v1/", "/v2/", "/meter/")) and "logout" not in each
)
SIGN_IN_DOORS = [each for each in PAGES if each.startswith("/account/")]
PARAMETERS = {
    "search": lambda said: {"q": said},
    "a name": lambda said: {said: "1"},
    "where to go on": lambda said: {"next": f"/credentials/?{urlencode({'q': said})}"},
    "where to go on in the administration": lambda said: {
        "next": f"/admin/revcred/credential/?{urlencode({'q': said, 'p': 1})}"
    },
    "where to go on, twice": lambda said: {
        "next": f"/account/login/?{urlencode({'next': '/?' + urlencode({'q': said})})}"
    },
    "where to go on, a path": lambda said: {"next": f"/admin/revcred/credential/{said}/change/"},
    "remembered filters": lambda said: {"_changelist_filters": urlencode({"q": said})},
}


@pytest.fixture
def people():
    customer = factories.a_customer("Acme")
    factories.a_credential(customer, key=KNOWN)
    owner = factories.a_subscriber(customer, Membership.Role.OWNER, "ada@example.com")
    boss = factories.a_user("boss@example.com", is_staff=True, is_superuser=True)
    return {"nobody": None, "owner": owner.user, "staff": boss}


def browser_of(user):
    client = Client(raise_request_exception=False)
    if user:
        client.force_login(user)
    return client


def led_to(client, method, page, query):
    """The addresses that it leads to, as long as these have a query, and the last answer."""
    addresses = []
    response = getattr(client, method)(f"{page}?{urlencode(query)}")
    while "Location" in response and len(addresses) < 5:
        addresses.append(response["Location"])
        if "?" not in response["Location"] or response["Location"].startswith(LOGIN):
            break
        response = client.get(response["Location"])
    assert response.status_code < 500
    return addresses, response


def holds(text, key):
    for _ in range(4):
        if key in text:
            return True
        text = unquote(text)
    return False


@pytest.mark.parametrize(
    ("who", "every"),
    mostly_long([("nobody", 2), ("owner", 7), ("staff", 7), ("owner", 1), ("staff", 1)], quick=3),
)
def test_no_page_leads_on_to_a_key(people, who, every):
    """A page that only leads to itself without the key is not asked in the other ways, too."""
    found = []
    client = browser_of(people[who])
    others = ("search", "a name", "remembered filters")
    query = {name: said for each in others for name, said in PARAMETERS[each](KNOWN).items()}
    pages = PAGES[::every]
    for how in (how for how in PARAMETERS if "where" in how):
        leading = []
        for page in pages:
            addresses, _ = led_to(client, "get", page, query | PARAMETERS[how](KNOWN))
            found += [(page, each) for each in addresses if holds(each, KNOWN)]
            leading += [page] if len(addresses) > 1 else []
        pages = leading

    assert found == []


@pytest.mark.parametrize("method", mostly_long(METHODS, quick=1))
@pytest.mark.parametrize("who", ["owner", "staff"])
def test_by_no_method(people, who, method):
    found = []
    for page in [ADMIN, STOREFRONT, reverse("storefront:credentials"), *SIGN_IN_DOORS]:
        client = browser_of(people[who])
        query = PARAMETERS["search"](KNOWN) | PARAMETERS["where to go on"](KNOWN)
        addresses, response = led_to(client, method, page, query)
        shown = response.content.decode() if not response.streaming else ""
        found += [(page, each) for each in [*addresses, shown] if holds(each, KNOWN)]

    assert found == []


@pytest.mark.parametrize("line", mostly_long(LINES, quick=1))
@pytest.mark.parametrize("how", PARAMETERS)
def test_however_it_was_pasted(people, how, line):
    client = browser_of(people["staff"])
    for key in (KNOWN, OWN):
        addresses, _ = led_to(client, "get", LOGIN, PARAMETERS[how](line.format(key)))
        assert addresses
        assert not [each for each in addresses if holds(each, key)]


@pytest.mark.parametrize("part", ["/admin/revcred/credential/", "/credentials/"])
def test_signing_in_leads_to_the_page_without_the_key(people, part):
    """Also a key that nobody knows here: a stranger cannot tell by it which keys there are."""
    for key in (KNOWN, OWN, UNKNOWN):
        client = Client()
        addresses, _ = led_to(client, "get", part, {"q": key, "p": "1"})
        assert addresses
        assert not [each for each in addresses if holds(each, key)]
        assert "p%3D1" in addresses[-1]


def test_the_whole_way_of_signing_in_with_a_factor(people, settings):
    settings.STAFF_SECOND_FACTOR = "required"
    app = an_app(people["staff"])
    client = Client()
    ways = [client.get("/admin/revcred/credential/", {"q": KNOWN})]
    ways.append(give_password(client, people["staff"], next=f"/admin/?q={KNOWN}"))
    ways.append(client.post(reverse("mfa_authenticate"), {"code": app.code()}))

    assert [each.status_code for each in ways] == [302, 302, 302]
    assert not [each["Location"] for each in ways if holds(each["Location"], KNOWN)]


@pytest.mark.parametrize(
    "query",
    [
        "q=Harbour",
        "from=2026-01-01&until=2026-02-01",
        "p=2&o=-1",
        "reason=unknown_key&gateway=3",
        "next=%2Fcredentials%2F%3Fpage%3D2",
        "_changelist_filters=kind__exact%3Dplugin%26p%3D2",
        "q=somebody%40example.com",
        "at=2026-01-01T00%3A00%3A00%2B00%3A00",
    ],
)
@pytest.mark.parametrize("who", ["nobody", "owner", "staff"])
def test_what_is_no_key_stays(people, who, query):
    client = browser_of(people[who])
    for page in (ADMIN, STOREFRONT):
        response = client.get(f"{page}?{query}")
        if response.status_code == 302:
            location = response["Location"]
            assert location != page
            forms = [location, unquote(location), unquote(unquote(location))]
            assert who != "nobody" or [each for each in forms if query in each]


def test_all_sign_in_doors_are_here():
    names = {each.name for each in allauth_patterns if getattr(each, "name", None)}
    assert {settings.LOGIN_URL, "account_login"} & {settings.LOGIN_URL, *names}
    assert len(SIGN_IN_DOORS) > 10
    assert reverse("account_login") in SIGN_IN_DOORS
    assert reverse("mfa_reauthenticate") in SIGN_IN_DOORS
