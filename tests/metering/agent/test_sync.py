"""Digests of valid keys, put into gateways' maps: in files, and in a real HAProxy if it is here."""

import base64
import hashlib
import hmac
import http.client
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from metering.agent import revcred_agent
from metering.agent.revcred_agent import AgentError, SyncPlan
from tests.metering.agent.conftest import wait_until


def digest(number):
    return hashlib.sha256(b"%d" % number).hexdigest()


def public_id(number):
    return f"cred_{number:032x}"


def valid(*numbers, **fields):
    return {digest(number): {"credential": public_id(number), **fields} for number in numbers}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.map"


@pytest.fixture
def sync(agent, path):
    def sync(*more, target="haproxy"):
        return agent.run("sync", target, path, *more)

    return sync


def test_a_plan_is_shown_before_anything_is_done(sync, revcred, path, capsys):
    revcred.valid_keys = valid(1, 2)
    path.write_text("# ours\nown-key cred_other\n")

    assert sync() == 0

    assert path.read_text() == "# ours\nown-key cred_other\n"
    assert capsys.readouterr().out == (
        "2 to add, 0 to change, 0 to take away, 0 as they are."
        " 1 others are not revcred's and stay.\nNothing was changed: say --apply.\n"
    )


def test_only_what_revcred_put_there_is_taken_away(sync, revcred, path):
    foreign = f"{digest(9)} cred_by_hand"
    path.write_text(f"# keys\n{foreign}\n")
    path.chmod(0o600)
    revcred.valid_keys = valid(1, 2, 9)
    sync("--apply")
    revcred.valid_keys = valid(2, 3)

    sync("--apply")

    assert path.read_text().splitlines() == [
        "# keys",
        foreign,
        f"{digest(2)} {public_id(2)}",
        f"{digest(3)} {public_id(3)}",
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_others_changed_is_mended_and_lost_state_is_made_up_for(sync, agent, revcred, path):
    revcred.valid_keys = valid(1, 2)
    sync("--apply")
    path.write_text(f"{digest(1)} cred_changed\n")
    sync("--apply")
    mended = path.read_text()
    shutil.rmtree(agent.state)
    sync("--apply")  # what is as it should be is revcred's
    revcred.valid_keys = valid(2)
    sync("--apply")

    assert mended == "".join(f"{digest(n)} {public_id(n)}\n" for n in (1, 2))
    assert path.read_text() == f"{digest(2)} {public_id(2)}\n"


def test_never_too_much_at_once(sync, revcred, path):
    revcred.valid_keys = valid(*range(100))
    sync("--apply")
    before = path.read_text()
    revcred.valid_keys = valid(*range(80))

    with pytest.raises(AgentError, match=r"20 of 100 entries, more than 10 %"):
        sync("--apply")
    assert path.read_text() == before
    sync("--apply", "--most", "20")

    assert len(path.read_text().splitlines()) == 80


def test_a_few_entries_are_never_too_much():
    wanted = {"1": "a"}
    SyncPlan.between({**wanted, "2": "b"}, {"1", "2"}, wanted).check(most_percent=10)


def test_a_key_is_taken_away_at_its_end_also_without_revcred(agent, revcred, path, monkeypatch):
    monkeypatch.setattr(revcred_agent, "COMPLETE_READ_SECONDS", 1e9)
    until = datetime.now(UTC) + timedelta(seconds=1)
    revcred.valid_keys = valid(1) | valid(2, until=until.isoformat().replace("+00:00", "Z"))
    with agent.running("sync", "haproxy", path, "--apply", "--every", "0.05"):
        wait_until(lambda: path.exists() and len(path.read_text().splitlines()) == 2)
        wait_until(lambda: len(path.read_text().splitlines()) == 1)
        wait_until(lambda: len(revcred.snapshot_reads) > 2)

    assert path.read_text().startswith(digest(1))
    # All keys once, then what changed.
    assert revcred.snapshot_reads[:2] == ["/v1/keys", "/v1/keys?since=1"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}, '{"digest":"x"}\n'), "was cut"),
        ((200, {}, ""), "was cut"),
        (
            (
                *(200, {}),
                (
                    '{"digest":"a b","state":"active","credential":"cred_x"}\n'
                    '{"cursor":"1","more":false,"complete":true}\n'
                ),
            ),
            "was cut, or is none of digests",
        ),
        ((409, {}, {"message": "This installation has no EXPORT_KEY."}), "no EXPORT_KEY"),
        ((403, {}, {}), "does not accept the token"),
    ],
)
def test_an_answer_that_is_none_changes_nothing(sync, revcred, path, answer, said):
    revcred.valid_keys = valid(1)
    sync("--apply")
    revcred.answers.append(answer)

    with pytest.raises(AgentError, match=said):
        sync("--apply")
    assert path.read_text() == f"{digest(1)} {public_id(1)}\n"


def test_a_map_of_nginx_is_reloaded_once_it_changed(sync, revcred, path, tmp_path):
    reloads = tmp_path / "reloads"
    command = f"sh -c 'echo reloaded >> {reloads}'"
    path.write_text('default "";\n')
    revcred.valid_keys = valid(1)

    sync("--apply", "--reload", command, target="nginx")
    sync("--apply", "--reload", command, target="nginx")

    assert path.read_text() == f'default "";\n"{digest(1)}" "{public_id(1)}";\n'
    assert reloads.read_text() == "reloaded\n"
    revcred.valid_keys = valid(1, 2)
    with pytest.raises(AgentError, match="failed"):
        sync("--apply", "--reload", "false", target="nginx")


# --- A real HAProxy -------------------------------------------------------------------------------

EXPORT_KEY_IN_BASE64 = "a2V5LW9mLXRlc3Rz"
CONFIGURATION = """
global
    stats socket {socket} mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend calls
    bind 127.0.0.1:{port}
    http-request set-var(txn.credential) req.hdr(x-api-key),hmac(sha256,{key}),hex,lower,map({map})
    http-request return status 401 unless {{ var(txn.credential) -m found }}
    http-request return status 200 hdr x-credential %[var(txn.credential)]
"""


@pytest.fixture
def haproxy(tmp_path, path):
    """Yield the port and the socket of a HAProxy that has the map."""
    if not shutil.which("haproxy"):
        pytest.skip("no HAProxy here")
    path.write_text("# empty\n")
    socket_path = str(tmp_path / "admin.sock")
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    configured = tmp_path / "haproxy.cfg"
    configured.write_text(
        CONFIGURATION.format(socket=socket_path, port=port, map=path, key=EXPORT_KEY_IN_BASE64)
    )
    process = subprocess.Popen(["haproxy", "-db", "-f", configured], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_open(port))
        yield port, socket_path
    finally:
        process.terminate()
        process.wait()


def is_open(port):
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def answer_of(port, key):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers={"x-api-key": key})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("x-credential")
    finally:
        connection.close()


def test_haproxy_lets_in_what_is_valid_and_no_longer_what_was_revoked(
    haproxy, agent, revcred, path
):
    port, socket_path = haproxy
    keys = {f"caller-key-{number:04}": number for number in range(500)}  # several commands
    digests = {key: digest_by_haproxy(key) for key in keys}
    revcred.valid_keys = {
        digests[key]: {"credential": public_id(number)} for key, number in keys.items()
    }
    with agent.running(
        *("sync", "haproxy", path, "--socket", socket_path, "--apply", "--every", "0.05")
    ):
        wait_until(lambda: answer_of(port, "caller-key-0499")[0] == 200)
        assert answer_of(port, "caller-key-0007") == (200, public_id(7))
        assert answer_of(port, "another-key") == (401, None)
        del revcred.valid_keys[digests["caller-key-0007"]]
        wait_until(lambda: answer_of(port, "caller-key-0007")[0] == 401)

    assert len(path.read_text().splitlines()) == 500  # a comment, and all but one


def digest_by_haproxy(key):
    return hmac.new(base64.b64decode(EXPORT_KEY_IN_BASE64), key.encode(), "sha256").hexdigest()
