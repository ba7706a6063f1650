"""The samples of the guides on moving in come in as the guides say."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from revcred.models import Assignment, Credential, Customer, Upload
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from tests import factories
from tests.revcred.uploads.conftest import worked

GUIDES = Path(__file__).parent.parent / "docs" / "moving"
SHORTENED_NUMBER = (
    "A spreadsheet has shortened this number. Format the column as text and enter it again."
)
CREATE = {
    "customers": "create",
    "subscribers": "create",
    "subscriptions": "create",
    "plans": "create",
    "inactive": "keep",
}


@dataclass(frozen=True)
class Guide:
    """A sample, how it is brought, and what the guide says of it."""

    sample: str
    counts: dict[str, int]
    fed: set[tuple[str, str]]  # (name of a credential, external key of a subscription)
    how: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=lambda: CREATE)
    left_out: list[str] = field(default_factory=list)
    sentences: tuple[str, ...] = ()  # of rejected rows and of warnings, in the guide, too


GUIDES_BY_NAME = {
    "kong": Guide(
        "kong.yaml",
        {"create": 4, "rejected": 1},
        set(),
        left_out=["1 ACL groups", "1 basic-auth credentials"],
        sentences=("This is a placeholder for a key. Write the key itself.",),
    ),
    "aws": Guide(
        "aws.csv",
        {"create": 4},
        {
            ("harbour-website", "harbour-maps-gold"),
            ("harbour-app", "harbour-maps-gold"),
            ("harbour-app", "harbour-geo-free"),
            ("harbour-app 2", "harbour-maps-gold"),
            ("old-prototype", "harbour-maps-gold"),
        },
        how={"fixed_values": {"customer": "harbour"}},
    ),
    "3scale": Guide(
        "3scale.json",
        {"create": 3},
        {("Website", "501-7"), ("Prototype", "501-7"), ("Tracking", "502-9")},
    ),
    "apigee": Guide(
        "apigee.json",
        {"create": 3},
        {
            ("website 1", "harbour-media-maps-gold"),
            ("website 2", "harbour-media-maps-gold"),
            ("tracking", "north-logistics-maps-gold"),
        },
        left_out=["1 API products that are pending or revoked"],
    ),
    "spreadsheet": Guide(
        "spreadsheet.csv",
        {"create": 4, "rejected": 1},
        {
            ("Website", "C-0501-Gold"),
            ("App", "C-0501-Gold"),
            ("App", "C-0501-Maps"),
            ("Tracking", "C-0502-Maps"),
            ("Shop", "C-0503-Gold"),
        },
        how={"encoding": "windows-1252"},
        choices=CREATE | {"plan_separator": "comma", "states": "on trial = active"},
        sentences=(SHORTENED_NUMBER,),
    ),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", GUIDES_BY_NAME)
def test_samples_come_in_as_the_guide_says(name, settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path
    guide = GUIDES_BY_NAME[name]
    with (GUIDES / "samples" / guide.sample).open("rb") as file:
        upload = actions.receive_upload(
            kind=ListKind.CREDENTIALS,
            file=file,
            name=guide.sample,
            by=None,
            choices=actions.UploadChoices(**guide.choices),
            **guide.how,
        )

    worked(upload)

    assert upload.state == Upload.State.READY, upload.error
    assert {action: rows for action, rows in upload.preview["counts"].items() if rows} == (
        guide.counts
    )
    warned = {each["code"]: each["examples"] for each in upload.preview["warnings"]}
    assert warned.get("left_out", []) == guide.left_out
    assert [message for _, message, _ in upload.preview["reasons"]] == [*guide.sentences]

    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    worked(upload)

    assert upload.state == Upload.State.APPLIED, upload.error
    assert Credential.objects.count() == guide.counts["create"]
    assert {
        (each.credential.name, each.subscription.external_key)
        for each in Assignment.objects.select_related("credential", "subscription")
    } == guide.fed
    if name == "spreadsheet":
        assert Customer.objects.get(external_key="C-0503").name == "Zürich Käse AG"


@pytest.mark.parametrize("name", GUIDES_BY_NAME)
def test_guides_quote_what_the_product_says(name):
    text = " ".join((GUIDES / f"{name}.md").read_text().split())

    for sentence in (*GUIDES_BY_NAME[name].sentences, *GUIDES_BY_NAME[name].left_out):
        assert sentence in text
    assert f"samples/{GUIDES_BY_NAME[name].sample}" in text
