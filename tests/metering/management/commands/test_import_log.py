import gzip
import json
import threading

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from metering.agent import revcred_agent
from metering.attribution.processing import process_waiting_deliveries
from metering.models import Delivery, Transaction
from revcred.models import Gateway
from tests import factories

# Lines are posted by several threads, each with a connection of its own.
pytestmark = pytest.mark.django_db(transaction=True)
KEY = "a-key-of-a-caller-0123456789"


@pytest.fixture
def gateway():
    return factories.a_gateway("edge", kind=Gateway.Kind.NGINX)


@pytest.fixture
def credential():
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer)
    return factories.a_credential(customer, KEY, subscriptions=[subscription])


def lines(start, stop):
    moment = timezone.now().timestamp() - 60
    return [
        json.dumps({"id": f"call-{number}", "ts": f"{moment:.3f}", "key": KEY, "status": "200"})
        for number in range(start, stop)
    ]


def import_log(tmp_path, *more):
    call_command("import_log", "--gateway", "edge", "--state", str(tmp_path / "state"), *more)


def count_all():
    while Delivery.objects.exists():
        process_waiting_deliveries()


@pytest.mark.usefixtures("gateway", "credential")
def test_takes_in_files_once(tmp_path, capsys):
    plain, compressed = tmp_path / "calls.log", tmp_path / "calls.log.1.gz"
    plain.write_text("\n".join(lines(0, 1_500)) + "\n")
    compressed.write_bytes(gzip.compress(("\n".join(lines(1_500, 1_600)) + "\n").encode()))

    import_log(tmp_path, str(plain), str(compressed))
    import_log(tmp_path, str(plain), str(compressed))
    import_log(tmp_path, "--again", str(plain), str(compressed))
    count_all()

    assert Transaction.objects.count() == 1_600
    assert capsys.readouterr().out.splitlines() == [
        "1,600 lines sent, 0 of them rejected.",
        "0 lines sent, 0 of them rejected.",
        "1,600 lines sent, 0 of them rejected.",
    ]


@pytest.mark.usefixtures("credential")
def test_another_format_for_these_files(tmp_path, gateway):
    path = tmp_path / "calls.csv"
    moment = timezone.now().isoformat()
    path.write_text(f"one,{moment},{KEY},,,,GET,/maps,200,,,\n")

    import_log(tmp_path, "--format", "csv", str(path))
    count_all()

    assert Transaction.objects.get().path == "/maps"
    gateway.refresh_from_db()
    assert gateway.line_format == ""


@pytest.mark.usefixtures("gateway", "credential")
def test_rejected_lines_are_told_of_without_their_keys(tmp_path, capsys):
    path = tmp_path / "calls.log"
    path.write_text("\n".join([*lines(0, 2), json.dumps({"key": KEY, "id": "bad"})]) + "\n")

    with pytest.raises(SystemExit):
        import_log(tmp_path, str(path))

    assert "3 lines sent, 1 of them rejected." in capsys.readouterr().out
    (note,) = revcred_agent.State(tmp_path / "state").parked_notes()
    assert note["field"] == "occurred_at"
    assert KEY not in json.dumps(note)


@pytest.mark.usefixtures("gateway")
def test_a_full_inbox_is_waited_for(tmp_path, settings, caplog):
    path = tmp_path / "calls.log"
    path.write_text("\n".join(lines(0, 2)) + "\n")
    settings.MAX_BACKLOG_PER_GATEWAY = 0

    def make_room():
        settings.MAX_BACKLOG_PER_GATEWAY = 1_000

    timer = threading.Timer(0.3, make_room)
    timer.start()
    import_log(tmp_path, str(path))
    timer.join()

    assert "is busy (429)" in caplog.text
    assert sum(Delivery.objects.values_list("transactions", flat=True)) == 2


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["none.log"], "is not a file"), (["--gateway", "other", "none.log"], "no gateway “other”")],
)
def test_what_is_missing(tmp_path, arguments, said):
    with pytest.raises(CommandError, match=said):
        import_log(tmp_path, *arguments)
