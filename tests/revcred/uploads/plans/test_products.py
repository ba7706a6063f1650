"""Lists of products: what they count, as by hand."""

import pytest

from revcred.models import AuditEvent, Product, Source
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from tests import factories
from tests.revcred.uploads.conftest import counts, problems, rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "external_key,name,version,sources,also_without_source"


@pytest.fixture(autouse=True)
def _sources():
    for name in ("tiles", "routes", "forecast"):
        Source.objects.create(name=name.title(), external_key=name)


def described(key):
    product = Product.objects.get(external_key=key)
    sources = sorted(product.sources.values_list("external_key", flat=True))
    return (str(product), sources, product.also_without_source, product.restricted)


def test_products_are_created_with_their_sources_and_undone(applied, uploaded, undone):
    text = rows(HEADER, "maps,Maps,2,tiles|routes,no", "all,Everything,,,")

    upload = applied(text, kind=ListKind.PRODUCTS)

    assert upload.outcome["create"] == 2
    assert described("maps") == ("Maps 2", ["routes", "tiles"], False, True)
    assert described("all") == ("Everything", [], False, False)
    assert counts(uploaded(text, kind=ListKind.PRODUCTS)) == {"unchanged": 2}

    undone(upload)

    assert not Product.objects.exists()


def test_sources_take_the_place_of_those_it_has_and_come_back(applied, uploaded, undone):
    product = factories.a_product("Maps")
    before = described("maps")
    first = applied(rows(HEADER, "maps,Maps,,tiles|routes,yes"), kind=ListKind.PRODUCTS)
    second_text = rows(HEADER, "maps,Maps and more,3,forecast|tiles,")

    shown = uploaded(second_text, kind=ListKind.PRODUCTS).preview["examples"]["update"]
    assert shown[0]["values"] == [
        ["name", "Maps", "Maps and more"],
        ["product_version", "", "3"],
        ["sources", ["routes", "tiles"], ["forecast", "tiles"]],
    ]
    second = applied(second_text, kind=ListKind.PRODUCTS)
    assert described("maps") == ("Maps and more 3", ["forecast", "tiles"], True, True)
    event = AuditEvent.objects.filter(target_type="revcred.product", target_id=product.pk).first()
    assert event.details["changed"]["sources"] == [["routes", "tiles"], ["forecast", "tiles"]]

    undone(second)
    assert described("maps") == ("Maps", ["routes", "tiles"], True, True)
    undone(first)
    # It counts all calls again, as before it had sources.
    assert described("maps") == before == ("Maps", [], False, False)


def test_a_product_that_counts_no_calls_is_not_opened_by_undoing(applied, undone):
    product = factories.a_product("Maps")
    product.sources.set(Source.objects.all())
    product.sources.clear()

    undone(applied(rows(HEADER, "maps,Maps,,tiles,"), kind=ListKind.PRODUCTS))

    assert described("maps") == ("Maps", [], False, True)


def test_faults_name_the_row_and_the_field(uploaded):
    text = rows(
        HEADER,
        "maps,Maps,,tiles|gone,",
        "twice,One,,,",
        "twice,Two,,,",
        "odd,Odd,,,perhaps",
        f"long,Long,{'9' * 51},,",
    )

    upload = uploaded(text, kind=ListKind.PRODUCTS)

    assert problems(upload) == [
        (
            *(2, "sources"),
            "No source has one of these external keys. Upload the list of sources first.",
        ),
        (3, "external_key", "The same external key is also in row 4."),
        (4, "external_key", "The same external key is also in row 3."),
        (5, "also_without_source", "This is neither yes nor no."),
        (6, "product_version", "It has 51 characters; at most 50 are allowed."),
    ]
    kept = uploaded(text, kind=ListKind.PRODUCTS, duplicates="last")
    assert counts(kept) == {"create": 1, "unchanged": 1, "rejected": 3}


def test_a_product_with_subscriptions_is_not_undone(applied):
    upload = applied(rows(HEADER, "maps,Maps,,tiles,"), kind=ListKind.PRODUCTS)
    factories.a_subscription(product=Product.objects.get(external_key="maps"))

    actions.check_undoing(upload=upload)

    worked(upload)
    assert upload.undo_preview["left"] == 1
    assert upload.undo_preview["obstacles"][0]["reason"] == "The product has other subscriptions"
