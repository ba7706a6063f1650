from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from metering import retention
from metering.attribution.discovery import SourceDiscovery
from metering.models import Claim, Conflict, DiscoveredSource, IdempotentPost
from revcred.models import Upload, UploadChange
from tests import factories

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def test_idempotent_posts_go_after_a_day_and_the_oldest_over_the_limit(settings):
    settings.MAX_IDEMPOTENT_POSTS = 2
    posts = [
        IdempotentPost.objects.create(
            key_hash=uuid4(), content_hash=uuid4(), began_at=timezone.now() - timedelta(hours=hours)
        )
        for hours in (1, 2, 3, 25)
    ]

    retention.delete_idempotent_posts()

    assert set(IdempotentPost.objects.all()) == {*posts[:2]}


def test_conflicts_go_with_the_ledger_and_the_oldest_over_the_limit(settings):
    gateway, settings.MAX_CONFLICTS = factories.a_gateway(), 2
    conflicts = [
        Conflict.objects.create(
            transaction=uuid4(),
            gateway=gateway,
            transaction_id="x",
            content={},
            received_at=timezone.now() - days * DAY,
        )
        for days in (401, 40, 20, 10)
    ]
    settings.MAX_CONFLICTS = 5
    retention.delete_conflicts()
    assert set(Conflict.objects.all()) == {*conflicts[1:]}

    settings.MAX_CONFLICTS = 2
    retention.delete_conflicts()
    assert set(Conflict.objects.all()) == {*conflicts[2:]}


def test_claims_go_with_the_ledger_and_the_oldest_over_the_limit_but_no_open_one(settings):
    settings.MAX_FINISHED_CLAIMS = 1
    now = timezone.now()
    claims = [
        Claim.objects.create(cause="x", created_at=now - 500 * DAY, finished_at=finished_at)
        for finished_at in (now - 401 * DAY, None, now - DAY, now)
    ]

    retention.delete_finished_claims()

    assert set(Claim.objects.all()) == {claims[1], claims[3]}


def test_undo_data_stays_while_a_claim_looks_for_what_was_changed():
    ended = timezone.now() - 91 * DAY
    uploads = [Upload.objects.create(state="applied", size=0, ended_at=ended) for _ in range(2)]
    for upload in uploads:
        upload.changes.create(action="create", target_type="revcred.credential", target_id=1)
    Claim.objects.create(cause="x", upload=uploads[0])

    retention.drop_undo_data_of_uploads()

    assert set(UploadChange.objects.values_list("upload", flat=True)) == {uploads[0].pk}


def test_a_source_that_no_call_names_any_more_is_forgotten(settings):
    factories.settled(factories.a_call(source_named="maps"), factories.a_call(source_named="old"))
    discovery = SourceDiscovery()
    discovery.look()
    DiscoveredSource.objects.filter(name="old").update(last_seen_at=timezone.now() - 91 * DAY)
    discovery._since = timezone.now() + DAY

    discovery.look()
    assert set(DiscoveredSource.objects.values_list("name", flat=True)) == {"maps"}

    settings.MAX_DISCOVERED_SOURCES = 0
    discovery.look()
    assert not DiscoveredSource.objects.exists()
