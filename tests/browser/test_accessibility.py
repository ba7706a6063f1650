"""axe finds nothing wrong in the administration, in both themes and at both widths.

The quick test asks it about the kinds of pages that there are, each at one width in one theme. The
long one asks about every address that the matrix of rights knows, at both widths in both themes.
"""

from itertools import cycle
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse

from metering.admin import groups
from revcred.models import Credential, Customer
from tests import factories
from tests.every_list import one_more
from tests.revcred.admin import matrix

pytestmark = pytest.mark.django_db(transaction=True)

LOOKS = [
    {"color_scheme": theme, "viewport": {"width": width, "height": 900}}
    for theme, width in (("light", 1280), ("dark", 390), ("dark", 1280), ("light", 390))
]
RULES = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
# Filters, columns and views are folded away until they are needed.
UNFOLD = """
for (const part of document.querySelectorAll("details")) {
    part.removeAttribute("name");  // else opening one closes another
    part.open = true;
}
"""
# The last part that reaches out of the window, unless it scrolls in its own place.
WIDER_THAN_WINDOW = """
document.documentElement.scrollWidth <= window.innerWidth ? "" : [...document.querySelectorAll("*")]
    .filter(part => part.getBoundingClientRect().right > window.innerWidth)
    .filter(part => !part.closest(".scroll, .results, .inline-group"))
    .map(part => part.cloneNode().outerHTML)
    .at(-1)
"""


def violations(page: Any, address: str) -> list[str]:
    """Return what axe finds on a page, and whether the page is wider than its window."""
    page.goto(address)
    if "/admin/" not in page.url:
        return []
    found = []
    page.evaluate(UNFOLD)
    if wide := page.evaluate(WIDER_THAN_WINDOW):
        found.append(f"{address}: wider than the window, at {wide}")
    for each in Axe().run(page, options=RULES).response["violations"]:
        node = each["nodes"][0]
        found.append(f"{address}: {each['id']}, {len(each['nodes'])} times, such as {node['html']}")
    return found


def kinds_of_pages() -> list[str]:
    """Return the address of one page of each kind: a second or two each."""
    one_more(1)
    credential, customer = Credential.objects.first(), Customer.objects.first()
    group = groups.find_groups()[0]
    return [
        reverse("admin:index"),
        reverse("admin:revcred_credential_changelist") + "?state=active&tag=eu",
        reverse("admin:revcred_customer_change", args=[customer.pk]),
        reverse("admin:revcred_credential_add"),
        reverse("admin:revcred_credential_change", args=[credential.pk]),
        reverse("admin:metering_quarantined_changelist") + f"?group={group.slug}",
    ]


def test_axe_finds_nothing_wrong_with_any_kind_of_page(open_as):
    addresses = kinds_of_pages()
    admin = factories.an_admin()
    pages = cycle([open_as(admin, **look) for look in LOOKS])

    found = [each for address in addresses for each in violations(next(pages), address)]
    assert not found, "\n".join(found)


@pytest.mark.long
@pytest.mark.parametrize(
    "look", LOOKS, ids=lambda look: f"{look['color_scheme']}-{look['viewport']['width']}"
)
def test_axe_finds_nothing_wrong_with_any_page(open_as, client, look):
    world = matrix.World()
    admin = world.actors["superuser"]
    client.force_login(admin)
    addresses = dict.fromkeys(
        matrix.address_of(page, case, world, admin)
        for page, of_page in matrix.cases(world).items()
        for case in of_page
    )
    shown = []
    for address in addresses:
        answer = client.get(address, follow=True)
        if answer.status_code == 200 and answer["Content-Type"].startswith("text/html"):
            shown.append(address)
    page = open_as(admin, **look)

    found = [each for address in shown for each in violations(page, address)]
    assert not found, "\n".join(found)
    assert len(shown) > 150
