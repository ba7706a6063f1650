"""Lists of sources: each row a path rule, or only its source; as by hand."""

import pytest
from django.core.exceptions import ValidationError
from django.db.transaction import atomic

from revcred.models import AuditEvent, PathRule, Source, Upload
from revcred.uploads import actions, applying
from revcred.uploads.columns import ListKind
from tests.revcred.uploads.conftest import counts, problems, rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "external_key,name,match,path"


def rules(key="tiles"):
    return sorted(map(str, PathRule.objects.filter(source__external_key=key)))


LIST = rows(
    HEADER,
    "tiles,Map tiles,begins with,/tiles/v1/",
    "tiles,,regex,^/v[0-9]+/tiles/",
    "routes,,prefix,/routes",
    "forecast,Forecast,,",
)


@pytest.mark.parametrize("rows_per_chunk", [1, 4_000])
def test_sources_come_with_their_path_rules_and_go(
    applied, uploaded, undone, monkeypatch, rows_per_chunk
):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", rows_per_chunk)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", rows_per_chunk)

    upload = applied(LIST, kind=ListKind.SOURCES)

    assert (upload.outcome["create"], upload.outcome.get("meanwhile")) == (4, 0)
    assert upload.preview["also_creates"] == {"sources": 3}
    named = dict(Source.objects.values_list("external_key", "name"))
    assert named == {"tiles": "Map tiles", "routes": "routes", "forecast": "Forecast"}
    assert rules() == ["begins with /tiles/v1/", "fits the expression ^/v[0-9]+/tiles/"]
    assert counts(uploaded(LIST, kind=ListKind.SOURCES)) == {"unchanged": 4}

    undone(upload)

    assert not Source.objects.exists()
    assert not PathRule.objects.exists()


def test_a_rule_is_added_to_a_source_and_a_row_without_a_path_renames_it(applied, undone):
    source = Source.objects.create(name="Tiles", external_key="tiles")
    PathRule.objects.create(source=source, text="/tiles/")

    upload = applied(rows(HEADER, "tiles,,,/maps/", "tiles,Map tiles,,"), kind=ListKind.SOURCES)

    assert (upload.outcome["create"], upload.outcome["update"]) == (1, 1)
    source.refresh_from_db()
    assert (source.name, rules()) == ("Map tiles", ["begins with /maps/", "begins with /tiles/"])

    undone(upload)

    source.refresh_from_db()
    assert (source.name, rules()) == ("Tiles", ["begins with /tiles/"])


def test_paths_that_the_page_would_not_take_are_rejected_for_the_same_reason(uploaded):
    bad = [
        ("regex", "(/maps"),
        ("regex", r"^/(a)\1"),
        ("regex", "^/(?=maps)"),
        ("equals", "https://example.com/maps"),
        ("begins_with", "/maps?a=1"),
    ]
    lines = [f"tiles,,{match},{path}" for match, path in bad]

    upload = uploaded(rows(HEADER, *lines, "tiles,,,/good"), kind=ListKind.SOURCES)

    by_hand = []
    for match, path in bad:
        with pytest.raises(ValidationError) as error:
            PathRule(match=match, text=path).clean()
        by_hand.append(error.value.messages[0])
    assert [message for *_, message in problems(upload)] == by_hand
    assert counts(upload) == {"create": 1, "rejected": 5}


def test_faults_name_the_row_and_the_field(uploaded):
    other = Source.objects.create(name="Other", external_key="other")
    PathRule.objects.create(source=other, text="/taken")
    text = rows(
        HEADER,
        "tiles,,,/taken",
        "tiles,,,/twice",
        "routes,,begins_with,/twice",
        "tiles,,roughly,/a",
        "tiles,,equals,",
        "other,Another name,,/b",
        "names,One,,/c",
        "names,Two,,/d",
        f"tiles,,,/{'x' * 500}",
    )

    assert problems(uploaded(text, kind=ListKind.SOURCES)) == [
        (2, "path", "This path is another source's already."),
        (3, "path", "The same path is also in row 4."),
        (4, "path", "The same path is also in row 3."),
        (
            *(5, "match"),
            "This is not one of equals, begins_with, ends_with, contains, regex.",
        ),
        (6, "path", "It says how to compare a path, and has no path."),
        (7, "name", "The source is called otherwise here. A row without a path renames it."),
        (8, "name", "Several rows of this source have different names."),
        (9, "name", "Several rows of this source have different names."),
        (10, "path", "It has 501 characters; at most 500 are allowed."),
    ]


def test_a_rule_that_somebody_has_changed_since_is_kept(applied, undone):
    upload = applied(LIST, kind=ListKind.SOURCES)
    source = Source.objects.get(external_key="tiles")
    with atomic():
        AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=source, by=None, details={})

    actions.undo_upload(upload=upload, by=upload.applied_by, keep_depended=True)

    worked(upload)
    assert upload.state == Upload.State.UNDONE
    assert [*Source.objects.values_list("external_key", flat=True)] == ["tiles"]
    assert len(rules()) == 2
