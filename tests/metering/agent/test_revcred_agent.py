import ast
import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from metering.agent import revcred_agent
from metering.agent.revcred_agent import AgentError, Answer, Product, State
from tests.metering.agent.conftest import wait_until
from tests.metering.agent.revcred_double import TOKEN, serving

KEY = "rck_a-key-of-a-caller-0123456789"


def numbered(start, stop):
    return [f"call {number:06} GET /maps/{number} {KEY}" for number in range(start, stop)]


def write(path, lines, mode="a"):
    with path.open(mode) as file:
        file.writelines(f"{line}\n" for line in lines)


def compress(path):
    target = path.with_name(f"{path.name}.gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return target


# --- The program itself ---------------------------------------------------------------------------


def test_it_is_one_file_for_any_python_from_3_9_on():
    source = Path(revcred_agent.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }

    assert imported - sys.stdlib_module_names == set()
    assert source.startswith("#!/usr/bin/env python3\n")
    assert os.access(revcred_agent.__file__, os.X_OK)


def test_it_runs_with_the_oldest_python_that_is_here():
    installed = sorted(Path("~/.pyenv/versions").expanduser().glob("3.9.*/bin/python"))
    old = next(
        (str(path) for path in [*installed, Path("/usr/bin/python3.9")] if path.exists()), ""
    )
    if not old:
        pytest.skip("no Python 3.9 here")

    told = subprocess.run(
        [old, revcred_agent.__file__, "--version"], capture_output=True, text=True, check=False
    )

    assert (told.stdout, told.stderr) == (f"revcred-agent {revcred_agent.VERSION}\n", "")


def test_no_option_takes_a_token():
    with pytest.raises(SystemExit):
        revcred_agent.parser().parse_args(["follow", "--token", TOKEN, "x"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["follow", "x*"], "Say where revcred is"),
        (["import", "x", "--url", "http://here"], "Name the file with the gateway's token"),
        (["follow", "x*", "--url", "ftp://here", "--token-file", "none"], "is not an address"),
        (["follow", "x*", "--url", "http://a:b@here", "--token-file", "none"], "no password"),
        (["follow", "x*", "--url", "http://here", "--token-file", "none"], "cannot be read"),
        (["import", "none", "--url", "http://here", "--token-file", "token"], "is not a file"),
        (["listen", "--url", "http://here", "--address", "here"], "is not an address"),
        (["try", "none"], "cannot be read"),
    ],
)
@pytest.mark.usefixtures("token_file")
def test_what_is_missing_is_said_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)

    assert revcred_agent.main([*arguments, "--state", str(tmp_path / "state")]) == 2
    assert said in capsys.readouterr().err


def test_a_token_is_one_line(agent, token_file):
    token_file.write_text("two words\n")

    with pytest.raises(AgentError, match="holds no token"):
        agent.run("follow", "x*")


# --- Following ------------------------------------------------------------------------------------


def test_follows_a_file_as_it_grows(agent, revcred, logs):
    log = logs / "calls.log"
    write(log, numbered(0, 3))

    with agent.running("follow", logs / "calls.log*"):
        wait_until(lambda: len(revcred.lines) == 3)
        write(log, numbered(3, 2_500))
        wait_until(lambda: len(revcred.lines) == 2_500)

    assert revcred.texts == numbered(0, 2_500)
    assert revcred.posted_lines == 2_500
    _, headers, _ = revcred.posts[0]
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Type"] == "application/x-ndjson"
    assert max(len(body.splitlines()) for _, _, body in revcred.posts) <= 1_000


def test_half_a_line_waits(agent, revcred, logs):
    log = logs / "calls.log"
    log.write_text("one\ntw")

    with agent.running("follow", logs / "*"):
        wait_until(lambda: revcred.texts == ["one"])
        with log.open("a") as file:
            file.write("o\nthr")
        wait_until(lambda: revcred.texts == ["one", "two"])

    assert {at for _, at in revcred.lines} == {0, 4}


def test_a_file_without_a_whole_line_waits(agent, revcred, logs):
    log = logs / "calls.log"
    log.write_text("#Fields: a b\n\non")

    with agent.running("follow", logs / "*"):
        time.sleep(0.1)
        with log.open("a") as file:
            file.write("e\n#a comment\n\ntwo\r\n")
        wait_until(lambda: revcred.texts == ["one", "two"])

    assert {at for _, at in revcred.lines} == {14, 30}


def test_goes_on_where_it_stopped(agent, revcred, logs):
    log = logs / "calls.log"
    write(log, numbered(0, 10))
    with agent.running("follow", log):
        wait_until(lambda: len(revcred.lines) == 10)
    write(log, numbered(10, 20))
    with agent.running("follow", log):
        wait_until(lambda: len(revcred.lines) == 20)

    assert revcred.posted_lines == 20


def test_a_position_is_written_only_once_lines_were_taken(agent, revcred, logs):
    log = logs / "calls.log"
    write(log, numbered(0, 10))
    revcred.answers.extend(
        [(503, {"Retry-After": "0"}, {})] * 3 + [(503, {"Retry-After": "60"}, {})]
    )
    with agent.running("follow", log):
        wait_until(lambda: not revcred.answers)
    assert list((agent.state / "positions").iterdir()) == []

    with agent.running("follow", log):
        wait_until(lambda: len(revcred.lines) == 10)
    assert [
        json.loads(path.read_text())["position"] for path in (agent.state / "positions").iterdir()
    ]


def test_a_file_is_known_again_under_any_name(agent, revcred, logs):
    """Renamed and compressed while it was followed, and while it was not."""
    log = logs / "calls.log"
    write(log, numbered(0, 10))
    with agent.running("follow", f"{log}*"):
        wait_until(lambda: len(revcred.lines) == 10)
        log.rename(logs / "calls.log.1")
        write(logs / "calls.log.1", numbered(10, 15))  # by a process that has it open
        write(log, numbered(15, 20))
        wait_until(lambda: len(revcred.lines) == 20)
        compress(logs / "calls.log.1")
        time.sleep(0.1)
    write(log, numbered(20, 25))
    log.rename(logs / "calls.log.2")
    compress(logs / "calls.log.2")
    write(log, numbered(25, 30))
    with agent.running("follow", f"{log}*"):
        wait_until(lambda: len(revcred.lines) == 30)

    assert revcred.texts == numbered(0, 30)
    assert revcred.posted_lines == 30


def test_with_its_state_lost_nothing_is_counted_twice(agent, revcred, logs):
    log = logs / "calls.log"
    write(log, numbered(0, 10))
    with agent.running("follow", f"{log}*"):
        wait_until(lambda: len(revcred.lines) == 10)
    shutil.rmtree(agent.state)
    compress(log)
    with agent.running("follow", f"{log}*"):
        wait_until(lambda: revcred.posted_lines == 20)

    assert len(revcred.lines) == 10


def test_copytruncate_in_full_traffic(agent, revcred, logs):
    log = logs / "calls.log"
    with log.open("ab", buffering=0) as writer, agent.running("follow", f"{log}*"):
        for number, line in enumerate(numbered(0, 800)):
            if number in (200, 400, 600):
                # The writer stands still meanwhile: what comes between is lost to anybody.
                shutil.copyfile(log, logs / f"calls.log.{number}")
                os.truncate(log, 0)
            writer.write(f"{line}\n".encode())
            time.sleep(0.0005)
        wait_until(lambda: len(revcred.lines) == 800)

    assert revcred.texts == numbered(0, 800)


def test_emptied_and_begun_with_the_same_line(agent, revcred, logs):
    log = logs / "calls.log"
    log.write_text("the same\nand more\n")
    with agent.running("follow", log):
        wait_until(lambda: len(revcred.lines) == 2)
        log.write_text("the same\n")
        wait_until(lambda: len(revcred.lines) == 3)
        log.write_text("")
        time.sleep(0.1)
        log.write_text("other\n")
        wait_until(lambda: len(revcred.lines) == 4)

    assert revcred.texts == ["and more", "other", "the same", "the same"]


@pytest.mark.parametrize("size", [10, 300_000])
def test_emptied_by_a_writer_that_goes_on_at_its_old_offset(agent, revcred, logs, size):
    log = logs / "calls.log"
    with log.open("wb", buffering=0) as writer, agent.running("follow", f"{log}*"):
        writer.write(b"one\n" + b"# filler\n" * (size // 9) + b"two\n")
        wait_until(lambda: len(revcred.lines) == 2)
        os.truncate(log, 0)
        writer.write(b"three\n")
        wait_until(lambda: len(revcred.lines) == 3)
    compress(log)
    with agent.running("follow", f"{log}*"):
        wait_until((agent.state / "caught-up").exists)

    assert revcred.texts == ["one", "three", "two"]
    assert revcred.posted_lines == 3
    assert revcred_agent.State(agent.state).parked_notes() == []


def test_a_deleted_file_is_read_to_its_end(agent, revcred, logs, caplog):
    log = logs / "calls.log"
    write(log, numbered(0, 10))
    revcred.answers.extend([(503, {}, {})] * 3)
    with agent.running("follow", f"{log}*"):
        wait_until(lambda: len(revcred.lines) == 10)
        revcred.answers.append((503, {"Retry-After": "1"}, {}))
        with log.open("a") as writer:
            log.unlink()
            writer.writelines(f"{line}\n" for line in numbered(10, 3_000))
        wait_until(lambda: len(revcred.lines) == 3_000)


@pytest.mark.parametrize("grows_by", [1, 100, 5_000])
def test_a_compressed_file_that_grows(agent, revcred, logs, grows_by):
    whole = gzip.compress("".join(f"{line}\n" for line in numbered(0, 500)).encode())
    whole += b"\0" * 10 + gzip.compress(b"the last, without an end")
    log = logs / "calls.log.gz"
    with agent.running("follow", log):
        with log.open("ab", buffering=0) as writer:
            for start in range(0, len(whole), grows_by):
                writer.write(whole[start : start + grows_by])
        wait_until(lambda: len(revcred.lines) == 501)

    assert revcred.texts == [*numbered(0, 500), "the last, without an end"]


def test_a_compressed_file_is_read_as_far_as_it_goes(agent, revcred, logs):
    whole = gzip.compress("".join(f"{line}\n" for line in numbered(0, 500)).encode())
    (logs / "cut.gz").write_bytes(whole[: len(whole) // 2])
    few = gzip.compress("".join(f"{line}\n" for line in numbered(0, 100)).encode())
    (logs / "damaged.gz").write_bytes(few + b"\xff" * 100)
    with agent.running("follow", logs / "*.gz"):
        wait_until(lambda: len(revcred.lines) > 100)
        (logs / "whole.gz").write_bytes(whole)
        wait_until(lambda: len(revcred.lines) == 500)

    assert revcred.posted_lines == 500


def test_other_compressed_files_are_not_sent(agent, revcred, logs, caplog):
    (logs / "calls.log.bz2").write_bytes(b"BZh91AY&SY and so on\n")
    write(logs / "calls.log", ["one"])
    with agent.running("follow", logs / "*"):
        wait_until(lambda: revcred.texts == ["one"])

    assert "is compressed with bzip2" in caplog.text


def test_two_files_with_the_same_first_line(agent, revcred, logs):
    """As lists with a heading, and as logs of two processes that begin in the same second."""
    for name in "ab":
        write(logs / name, ["key,moment", *(f"{name}{number}" for number in range(5))])
    write(logs / "c", ["key,moment"])
    with agent.running("follow", logs / "*"):
        wait_until(lambda: len(revcred.lines) == 12)
        write(logs / "c", ["c0"])
        wait_until(lambda: len(revcred.lines) >= 13)

    assert [f"{name}{number}" for name in "ab" for number in range(5)] + ["c0"] == revcred.texts[
        :11
    ]


def test_hosts_are_told_apart(agent, revcred, logs):
    write(logs / "a", ["the same line"])
    agent.run("import", logs / "a")
    agent.run("import", "--host", "web2", logs / "a")

    assert revcred.texts == ["the same line"] * 2


def test_the_host_is_remembered(tmp_path, monkeypatch):
    """A container's changes with each start, and its files would be counted again."""
    monkeypatch.setattr(socket, "gethostname", lambda: "first")
    assert revcred_agent.State(tmp_path).host == "first"
    monkeypatch.setattr(socket, "gethostname", lambda: "second")
    assert revcred_agent.State(tmp_path).host == "first"
    assert revcred_agent.State(tmp_path, "given").host == "given"


def test_odd_lines(agent, revcred, logs):
    log = logs / "calls.log"
    log.write_bytes(
        b'\xff caf\xc3\xa9 "quoted" \\ \x01\n' + b"a return\rwithin\n" + "  ☃\n".encode()
    )
    with agent.running("follow", log):
        wait_until(lambda: len(revcred.lines) == 3)

    assert set(revcred.texts) == {
        '\ufffd café "quoted" \\ \x01',
        "a return\rwithin",
        "\u2028 ☃",
    } or set(revcred.texts) == {'\ufffd café "quoted" \\ \x01', "a return\rwithin", "  ☃"}


def test_a_line_that_is_too_long_is_parked(agent, revcred, logs, monkeypatch):
    monkeypatch.setattr(revcred_agent, "MAX_LINE_BYTES", 4_096)
    monkeypatch.setattr(revcred_agent, "READ_BYTES", 4_096)
    log = logs / "calls.log"
    log.write_text("one\n" + "x" * 20_000)
    with agent.running("follow", log):
        wait_until(lambda: revcred.texts == ["one"])
        with log.open("a") as file:
            file.write("y" * 5_000 + "\ntwo\n")
        wait_until(lambda: revcred.texts == ["one", "two"])

    (note,) = revcred_agent.State(agent.state).parked_notes()
    assert (note["code"], note["offset"], note["path"]) == ("too_long", 4, str(log))


# --- Answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 415, 429, 500, 502, 503])
def test_is_sent_again_until_it_is_taken(agent, revcred, logs, status, caplog):
    write(logs / "calls.log", numbered(0, 5))
    revcred.answers.extend([(status, {"Retry-After": "0"}, {"message": KEY})] * 4)
    with agent.running("follow", logs / "*"):
        wait_until(lambda: len(revcred.lines) == 5)

    assert "Trying again" in caplog.text
    assert KEY not in caplog.text
    assert TOKEN not in caplog.text


def test_a_format_that_is_missing_is_no_fault_of_lines(agent, revcred, logs, caplog):
    write(logs / "calls.log", numbered(0, 5))
    told = {"code": "unknown_format", "message": "Choose another on its page."}
    revcred.answers.extend([(400, {}, told)] * 3)
    with agent.running("follow", logs / "*"):
        wait_until(lambda: len(revcred.lines) == 5)

    assert "Choose another on its page." in caplog.text
    assert revcred_agent.State(agent.state).parked_notes() == []


def test_nothing_but_202_means_taken(agent, revcred, logs):
    """A page of some network in between is no answer of revcred."""
    write(logs / "calls.log", numbered(0, 5))
    revcred.answers.extend([(200, {}, {}), (204, {}, {})])
    with agent.running("follow", logs / "*"):
        wait_until(lambda: len(revcred.lines) == 5)


def test_revcred_is_away_and_comes_back(agent, revcred, logs, caplog):
    log = logs / "calls.log"
    port = revcred.server_address[1]
    write(log, numbered(0, 5))
    with agent.running("follow", f"{log}*"):
        wait_until(lambda: len(revcred.lines) == 5)
        revcred.is_away = True
        revcred.server_close()
        write(log, numbered(5, 3_000))
        wait_until(lambda: "does not answer" in caplog.text)
        log.rename(logs / "calls.log.1")
        write(log, numbered(3_000, 4_000))
        with serving(port) as back:
            wait_until(lambda: len(back.lines) == 3_995)

    assert sorted([*revcred.lines.values(), *back.lines.values()]) == numbered(0, 4_000)


def test_a_token_can_be_replaced_meanwhile(agent, revcred, logs, token_file):
    write(logs / "calls.log", numbered(0, 5))
    revcred.answers.extend([(401, {}, {})] * 3)
    with agent.running("follow", logs / "*"):
        wait_until(lambda: len(revcred.answers) < 3)
        token_file.write_text("another")
        wait_until(lambda: len(revcred.lines) == 5)

    assert revcred.posts[-1][1]["Authorization"] == "Bearer another"


def test_a_post_that_is_too_large_is_halved(agent, revcred, logs):
    write(logs / "calls.log", numbered(0, 3_000))
    revcred.max_bytes = 20_000
    with agent.running("follow", logs / "*"):
        wait_until(lambda: len(revcred.lines) == 3_000)

    assert revcred.texts == numbered(0, 3_000)


def test_one_bad_line_is_parked_with_its_reason_and_without_its_key(agent, revcred, logs):
    lines = numbered(0, 50)
    lines[20] = f"bad {KEY}"
    write(logs / "calls.log", lines)
    said = f"It says {KEY}, which is nothing."
    revcred.judge = lambda line: (
        {"code": "malformed", "field": "key", "message": said} if "bad" in line else None
    )
    with agent.running("follow", logs / "*"):
        wait_until(lambda: len(revcred.lines) == 49)

    (note,) = revcred_agent.State(agent.state).parked_notes()
    assert (note["code"], note["field"]) == ("malformed", "key")
    assert note["message"] == "It says …, which is nothing."
    content = (logs / "calls.log").read_bytes()
    assert content[note["offset"] :].startswith(b"bad ")
    for path in agent.state.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_a_post_of_bad_lines_only_is_not_halved(agent, revcred, logs):
    write(logs / "calls.log", numbered(0, 100))
    revcred.judge = lambda _: {"code": "missing"}
    agent.run("import", logs / "calls.log")

    assert len(revcred.posts) == 1
    assert len(revcred_agent.State(agent.state).parked_notes()) == 100


def test_a_post_that_cannot_be_read_is_halved_down_to_the_bad_line(agent, revcred, logs):
    write(logs / "calls.log", [*numbered(0, 20), "bad", *numbered(20, 40)])
    answer = revcred.answer

    def reject_bad_posts(path, headers, body):
        if b'"bad"' in gzip.decompress(body):
            return 400, {}, {"code": "malformed", "message": "No JSON."}
        return answer(path, headers, body)

    revcred.answer = reject_bad_posts
    agent.run("import", logs / "calls.log")

    assert revcred.texts == numbered(0, 40)
    (note,) = revcred_agent.State(agent.state).parked_notes()
    assert (note["code"], note["message"]) == ("malformed", "No JSON.")


def test_notes_of_parked_lines_do_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(revcred_agent, "MAX_PARKED_BYTES", 1_000)
    state = revcred_agent.State(tmp_path)
    for number in range(500):
        state.park([{"number": number}])

    assert sum(path.stat().st_size for path in tmp_path.glob("parked*")) < 2_100
    assert state.parked_notes()[-1] == {"number": 499}


def test_old_positions_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(revcred_agent, "MAX_POSITIONS", 3)
    state = revcred_agent.State(tmp_path)
    for number in range(5):
        state.save(revcred_agent.Log(f"log{number}", taken_at=time.time() + number))
    logs = state.load()
    state.forget_oldest(logs)

    assert sorted(logs) == sorted(state.load()) == ["log2", "log3", "log4"]


def test_a_position_that_cannot_be_read_is_sent_again(agent, revcred, logs):
    write(logs / "calls.log", numbered(0, 5))
    agent.run("import", logs / "calls.log")
    for path in (agent.state / "positions").iterdir():
        path.write_text("{")
    agent.run("import", logs / "calls.log")

    assert (len(revcred.lines), revcred.posted_lines) == (5, 10)


def test_a_state_that_cannot_be_written_holds_nothing_up(agent, revcred, logs, caplog, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    write(logs / "calls.log", numbered(0, 5))
    with agent.running("follow", logs / "*"):
        wait_until(lambda: len(revcred.lines) == 5)
        monkeypatch.setattr(revcred_agent, "write_safely", fail)
        write(logs / "calls.log", numbered(5, 10))
        wait_until(lambda: len(revcred.lines) == 10)
        wait_until(lambda: "No space left" in caplog.text)


def test_two_agents_do_not_share_a_state(agent, logs):
    with agent.running("follow", logs / "*"):
        wait_until((agent.state / "follow.json").exists)
        with pytest.raises(AgentError, match="Another agent runs"):
            agent.run("follow", logs / "*")


def test_a_long_delay_is_warned_of(agent, revcred, logs, caplog, monkeypatch):
    monkeypatch.setattr(revcred_agent, "LAG_WARNING_SECONDS", 0.05)
    write(logs / "calls.log", numbered(0, 5))
    revcred.answers.extend([(503, {"Retry-After": "1"}, {})] * 2)
    with agent.running("follow", logs / "*"):
        wait_until(lambda: "Behind for" in caplog.text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("100000", revcred_agent.MAX_RETRY_AFTER_SECONDS),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(text, seconds):
    assert Answer(503, {"retry-after": text}, b"").retry_after() == seconds


@pytest.mark.parametrize(("hours", "seconds"), [(-1, 0.0), (1, 300.0)])
def test_retry_after_a_moment(hours, seconds):
    text = format_datetime(datetime.now(UTC) + timedelta(hours=hours))

    assert Answer(503, {"retry-after": text}, b"").retry_after() == seconds


# --- Proxies and certificates ---------------------------------------------------------------------


def test_a_proxy_is_used_as_the_environment_says(agent, revcred, logs, monkeypatch):
    """The stand-in is the proxy here: it is asked with whole addresses."""
    monkeypatch.setenv("http_proxy", revcred.url.replace("//", "//me:secret@"))
    with closing(Product("http://revcred.example.com/base")) as product:
        answer = product.post("/v1/other", b"", {})

    ((path, headers, _),) = revcred.posts
    assert answer.status == 202
    assert path == "http://revcred.example.com/base/v1/other"
    assert headers["Proxy-Authorization"] == "Basic bWU6c2VjcmV0"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with closing(Product(revcred.url)) as product:
        product.post("/v1/other", b"", {})
    assert revcred.posts[-1][0] == "/v1/other"


@contextmanager
def tls_context(tmp_path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    yield file, context


def test_certificates_are_the_systems(tmp_path, monkeypatch):
    with tls_context(tmp_path) as (file, context), serving(tls=context) as server:
        url = server.url.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(ssl.SSLCertVerificationError):
            Product(url).post("/v1/other", b"", {})
        monkeypatch.setenv("SSL_CERT_FILE", str(file))

        with closing(Product(url)) as product:
            assert product.post("/v1/other", b"", {}).status == 202


def test_a_connection_that_was_closed_meanwhile_is_opened_anew(revcred):
    with closing(Product(revcred.url)) as product:
        product.post("/v1/other", b"", {})
        product._idle[0].connection.sock.shutdown(socket.SHUT_RDWR)

        assert product.post("/v1/other", b"", {}).status == 202
    assert len(revcred.posts) == 2


# --- Importing ------------------------------------------------------------------------------------


def test_imports_files_that_are_complete(agent, revcred, logs, capsys):
    write(logs / "calls.log.1", numbered(0, 1_500))
    write(logs / "calls.log.2", numbered(1_500, 3_000))
    compress(logs / "calls.log.2")
    with (logs / "calls.log.1").open("a") as file:
        file.write("without an end")
    os.utime(logs / "calls.log.1", (time.time() - 3_600,) * 2)

    assert agent.run("import", logs / "calls.log.1", logs / "calls.log.2.gz") == 0
    assert revcred.texts == [*numbered(0, 3_000), "without an end"]
    assert capsys.readouterr().out == "3,001 lines sent, 0 of them rejected.\n"

    assert agent.run("import", logs / "calls.log.1", logs / "calls.log.2.gz") == 0
    assert revcred.posted_lines == 3_001
    assert capsys.readouterr().out == "0 lines sent, 0 of them rejected.\n"

    agent.run("import", "--again", logs / "calls.log.1", logs / "calls.log.2.gz")
    assert (revcred.posted_lines, len(revcred.lines)) == (6_002, 3_001)


def test_an_import_says_what_it_could_not_read(agent, revcred, logs, capsys):
    whole = gzip.compress("".join(f"{line}\n" for line in numbered(0, 500)).encode())
    (logs / "cut.gz").write_bytes(whole[: len(whole) // 2])
    (logs / "live.log").write_text("one\ntw")

    agent.run("import", logs / "cut.gz", logs / "live.log")

    said = capsys.readouterr().out
    assert "cut.gz is cut or damaged" in said
    assert "live.log: the last line has no end yet" in said


def test_an_import_of_rejected_lines_fails(agent, revcred, logs, capsys):
    write(logs / "a", numbered(0, 3))
    revcred.judge = lambda _: {"code": "missing", "field": "key"}

    assert agent.run("import", logs / "a") == 1
    assert "3 of them rejected" in capsys.readouterr().out


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_an_import_gives_up_where_only_its_operator_can_help(agent, revcred, logs, status):
    write(logs / "a", numbered(0, 3))
    revcred.answers.append((status, {}, {}))

    with pytest.raises(AgentError):
        agent.run("import", logs / "a")
    assert revcred.lines == {}


def test_progress_is_shown(agent, revcred, logs, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    write(logs / "a", numbered(0, 2_000))
    agent.run("import", logs / "a")

    assert "[##############################] 100%  2,000 lines" in capsys.readouterr().err


# --- The beacon -----------------------------------------------------------------------------------


def free_port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def post_to(port, path, body, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body, named, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def is_open(port):
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def port():
    return free_port()


def test_passes_a_post_on_unchanged(agent, revcred, port):
    body = gzip.compress(b"what a gateway says")
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        status, text, _ = post_to(
            port,
            "/v1/events?x=1",
            body,
            Content_Type="application/cloudevents+json",
            Content_Encoding="gzip",
            Authorization="Bearer own",
            X_Other="not passed on",
        )
        wait_until(lambda: revcred.posts)

    assert (status, text) == (202, b"")
    ((path, headers, passed),) = revcred.posts
    assert (path, passed) == ("/v1/events?x=1", b"what a gateway says")
    assert headers["Content-Type"] == "application/cloudevents+json"
    assert headers["Authorization"] == "Bearer own"
    assert "X-Other" not in headers


def test_a_post_without_a_token_gets_the_agents(agent, revcred, port):
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        post_to(port, "/v1/events", b"{}")
        wait_until(lambda: revcred.posts)

    assert revcred.posts[0][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("kind", "text"), [("application/x-protobuf", b""), ("application/json", b"{}")]
)
def test_an_export_is_answered_as_exporters_expect(agent, revcred, port, kind, text):
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        status, body, headers = post_to(port, "/meter/v2/otlp/v1/logs", b"x", Content_Type=kind)
        wait_until(lambda: revcred.posts)

    assert (status, body, headers["Content-Type"]) == (200, text, kind)


def test_a_chunked_post(agent, revcred, port):
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        status, _, _ = post_to(
            port, "/v1/events", iter([b"one", b"two"]), Transfer_Encoding="chunked"
        )
        wait_until(lambda: revcred.posts)

    assert (status, revcred.posts[0][2]) == (202, b"onetwo")


@pytest.mark.parametrize(
    "head",
    [
        b"POST @elsewhere.example/ HTTP/1.1",
        b"POST http://elsewhere.example/ HTTP/1.1",
        b"POST /v1/\xc3\xa9vents HTTP/1.1",
        b"POST /v1/\x00events HTTP/1.1",
        b"POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1",
    ],
)
def test_a_post_that_could_not_be_passed_on_is_not_kept(agent, revcred, port, head):
    """It would hold up all that come behind it, or be posted elsewhere by way of a proxy."""
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            raw.sendall(head + b"\r\nContent-Length: 0\r\n\r\n")
            status = raw.makefile("rb").readline().split()[1]
        assert status in {b"400", b"413"}
        post_to(port, "/v1/events", b"good")
        wait_until(lambda: revcred.posts)

    assert [body for _, _, body in revcred.posts] == [b"good"]


def test_what_was_answered_outlives_the_process(agent, revcred, port):
    """revcred is away, the beacon is killed, and both come back."""
    away = [(503, {"Retry-After": "60"}, {})] * 4
    revcred.answers.extend(away)
    with agent.process("listen", "--address", f"127.0.0.1:{port}") as process:
        wait_until(lambda: is_open(port))
        for number in range(50):
            assert post_to(port, "/v1/events", f"{number}".encode())[0] == 202
        process.kill()
        process.wait()
    spool = agent.state / "spool"
    (segment,) = spool.glob("*.spool")
    with segment.open("ab") as file:
        file.write(b'{"address": "/v1/events", "headers": {}, "bytes": 100}\nbut not whole')
    revcred.answers.clear()
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: len(revcred.posts) >= 50)
        wait_until(lambda: not sum(path.stat().st_size for path in spool.glob("*.spool")))

    assert sorted(int(body) for _, _, body in revcred.posts) == list(range(50))


HAND_ON_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def test_the_listening_socket_outlives_the_process(agent, revcred, port):
    """As with systemd: callers wait in the socket while nobody is there to answer."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        answers = []

        def keep_posting():
            answers.extend(post_to(port, "/v1/events", f"{n}".encode())[0] for n in range(200))

        def start():
            return subprocess.Popen(
                [
                    *(sys.executable, "-c", HAND_ON_SOCKET, str(listening.fileno())),
                    *(revcred_agent.__file__, *agent.arguments("listen")),
                ],
                pass_fds=[listening.fileno()],
                stderr=subprocess.DEVNULL,
            )

        posting = threading.Thread(target=keep_posting)
        process = start()
        posting.start()
        for _ in range(2):
            wait_until(lambda: len(revcred.posts) > 20)
            process.terminate()
            process.wait()
            process = start()
        posting.join()
        wait_until(lambda: len(revcred.posts) >= 200)
        process.terminate()
        process.wait()

    assert answers == [202] * 200
    assert sorted(int(body) for _, _, body in revcred.posts) == list(range(200))


def test_it_becomes_a_new_process_and_listens_on(agent, revcred, port):
    with agent.process("listen", "--address", f"127.0.0.1:{port}") as process:
        wait_until(lambda: is_open(port))
        for number in range(100):
            if number in (30, 60):
                process.send_signal(signal.SIGHUP)
            assert post_to(port, "/v1/events", f"{number}".encode())[0] == 202
        wait_until(lambda: len(revcred.posts) == 100)

    assert process.returncode == 0


def test_a_post_that_is_never_taken_is_parked_with_its_reason(agent, revcred, port):
    revcred.answers.append((400, {}, {"code": "malformed", "message": f"It holds {KEY}."}))
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        post_to(port, f"/v1/events?key={KEY}", KEY.encode())
        post_to(port, "/v1/events", b"good")
        wait_until(lambda: revcred.posts)

    (note,) = revcred_agent.State(agent.state).parked_notes()
    assert note["code"] == "malformed"
    assert note["path"] == "/v1/events"
    assert KEY not in json.dumps(note)


def test_a_full_spool_tells_the_gateway_to_wait(agent, revcred, port, caplog):
    revcred.answers.extend([(503, {"Retry-After": "1"}, {})] * 4)
    with agent.running("listen", "--address", f"127.0.0.1:{port}", "--spool", "0"):
        wait_until(lambda: is_open(port))
        status, _, headers = post_to(port, "/v1/events", b"x")

    assert (status, headers["Retry-After"]) == (503, "10")
    assert "The spool is full" in caplog.text


def test_a_post_that_is_too_large_is_not_kept(agent, port, monkeypatch):
    monkeypatch.setattr(revcred_agent, "MAX_RECEIVED_BYTES", 1_000)
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        plain = post_to(port, "/v1/events", b"x" * 1_001)[0]
        chunked = post_to(port, "/v1/events", iter([b"x" * 1_001]), Transfer_Encoding="chunked")[0]

    assert (plain, chunked) == (413, 413)


def test_segments_are_deleted_once_they_were_taken(agent, revcred, port, monkeypatch):
    monkeypatch.setattr(revcred_agent, "SEGMENT_BYTES", 1_000)
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        for number in range(100):
            post_to(port, "/v1/events", f"{number}".encode() * 50)
        wait_until(lambda: len(revcred.posts) == 100)
        wait_until(lambda: len(list((agent.state / "spool").glob("*.spool"))) == 1)


def test_the_size_of_the_spool_does_not_mind_a_segment_that_is_deleted_meanwhile(tmp_path):
    (tmp_path / "kept").write_bytes(b"12345")

    assert revcred_agent.size_of_files([tmp_path / "deleted", tmp_path / "kept"]) == 5


def test_it_says_that_it_listens(agent, port):
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/")
        said = connection.getresponse().read()
        connection.close()

    assert said.startswith(b"revcred-agent listens.")


def test_idle_connections_do_not_hold_up_its_end(agent, revcred, port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        connection.request("POST", "/v1/events", b"x")
        assert connection.getresponse().read() == b""
        began = time.monotonic()

    assert time.monotonic() - began < revcred_agent.BeaconHandler.timeout / 2
    connection.close()


def test_an_address_that_is_taken(agent, revcred):
    with pytest.raises(AgentError, match="cannot be listened at"):
        agent.run("listen", "--address", f"127.0.0.1:{revcred.server_address[1]}")


@pytest.fixture
def hasty(monkeypatch):
    """Posts that are refused are set aside at once."""
    monkeypatch.setattr(revcred_agent, "HOLD_UP_SECONDS", 0.0)
    monkeypatch.setattr(revcred_agent, "MAX_PAUSE_SECONDS", 0.05)


def refusing(revcred, statuses):
    """Have revcred refuse posts by address or token, for as long as the dictionary says so."""
    usual = revcred.answer

    def answer(path, headers, body):
        address, login = path.partition("?")[0], headers.get("Authorization")
        status = statuses.get(address) or statuses.get(login)
        return (status, {}, {"code": "not_now"}) if status else usual(path, headers, body)

    revcred.answer = answer


@pytest.mark.usefixtures("hasty")
def test_a_refused_post_holds_up_no_other_and_is_tried_again(agent, revcred, port):
    refused = {"/v1/not-yet": 404, "Bearer wrong": 401, "/v1/no-scope": 403}
    refusing(revcred, refused)
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        for number in range(6):  # more than are posted at once
            post_to(port, "/v1/not-yet", b"%d" % number)
            post_to(port, "/v1/no-scope", b"%d" % number)
        post_to(port, "/v1/events", b"of another token", Authorization="Bearer wrong")
        post_to(port, "/v1/events", b"passes")
        wait_until(lambda: revcred.posts)
        assert [body for _, _, body in revcred.posts] == [b"passes"]
        assert agent.run("status") == 0
    # It is on the disk, and goes on from there.
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        refused.clear()
        wait_until(lambda: len(revcred.posts) == 14)
        wait_until(lambda: agent.run("status") == 0)

    by_path = {}
    for path, _, body in revcred.posts:
        by_path.setdefault(path, []).append(body)
    assert sorted(by_path["/v1/not-yet"]) == sorted(by_path["/v1/no-scope"])
    assert by_path["/v1/events"] == [b"passes", b"of another token"]
    assert State(agent.state).parked_notes() == []


@pytest.mark.usefixtures("hasty")
def test_a_post_to_nowhere_is_parked_in_the_end_and_one_with_a_wrong_token_never(
    agent, revcred, port, monkeypatch, capsys
):
    monkeypatch.setattr(revcred_agent, "NOWHERE_SECONDS", 0.0)
    refusing(revcred, {"/stray": 404, "/get-only": 405, "/v1/no-scope": 403})
    with agent.running("listen", "--address", f"127.0.0.1:{port}"):
        wait_until(lambda: is_open(port))
        for path in ("/stray?key=rck_secret", "/v1/no-scope", "/get-only"):
            post_to(port, path, b"1")
        state = State(agent.state)
        wait_until(lambda: len(state.parked_notes()) == 2)
        agent.run("status")

    notes = {note["path"]: note["code"] for note in state.parked_notes()}
    assert notes == {"/stray": "not_now", "/get-only": "not_now"}
    said = capsys.readouterr().out
    assert "were refused for their token or address, and are tried again" in said
    assert "rck_secret" not in said


# --- What people ask ------------------------------------------------------------------------------


def test_status(agent, revcred, logs, capsys):
    log = logs / "calls.log"
    write(log, [*numbered(0, 5), "bad"])
    revcred.judge = {"bad": {"code": "malformed"}}.get
    with agent.running("follow", f"{log}*"):
        wait_until(lambda: len(revcred.lines) == 5)
        wait_until((agent.state / "caught-up").exists)
        agent.run("status")
    said = capsys.readouterr().out
    assert "follow runs. Files are known by the host web1." in said
    assert f"{log}: all sent" in said
    assert f"{log} at byte" in said
    assert "malformed" in said

    write(log, numbered(5, 8))
    os.utime(agent.state / "caught-up", (time.time() - 1_000,) * 2)
    assert agent.run("status", "--json") == 1
    data = json.loads(capsys.readouterr().out)
    assert 1_000 <= data["lag_seconds"] < 1_100
    assert (data["follows"], data["parked"]) == (False, 1)
    assert data["files"][0]["unread_bytes"] == len("".join(f"{each}\n" for each in numbered(5, 8)))


def test_try_shows_what_would_be_sent(agent, revcred, logs, capsys):
    write(logs / "calls.log", numbered(0, 30))
    agent.run("try", logs / "calls.log")

    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["line"] for each in shown] == numbered(0, 20)
    assert revcred.posts == []
    assert not agent.state.exists()


def test_where_the_state_and_the_token_are(monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    monkeypatch.delenv("REVCRED_TOKEN_FILE", raising=False)
    assert revcred_agent.default_state() == Path("/var/lib/one")
    assert revcred_agent.default_token_file() == Path("/run/credentials/x/token")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert revcred_agent.default_state() == Path("/home/me/state/revcred-agent")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert revcred_agent.default_state() == Path("/var/lib/revcred-agent")


# --- The whole program, killed --------------------------------------------------------------------


def test_killed_in_full_traffic(agent, revcred, logs):
    """Killed twice, with a rotation while it is dead: each line once."""
    log = logs / "calls.log"
    written = 0

    def write_some(count):
        nonlocal written
        for line in numbered(written, written + count):
            write(log, [line])
        written += count

    for _ in range(2):
        with agent.process("follow", f"{log}*") as process:
            wait_until(lambda: log.exists() or write_some(1) is None)
            before = len(revcred.lines)
            write_some(300)
            wait_until(lambda before=before: len(revcred.lines) > before)
            process.kill()
            process.wait()
        write_some(50)
        log.rename(logs / f"calls.log.{written}")
        compress(logs / f"calls.log.{written}")
        write_some(50)
    with agent.process("follow", f"{log}*") as process:
        wait_until(lambda: len(revcred.lines) == written)
        if (shown := Path(f"/proc/{process.pid}/cmdline")).exists():
            assert TOKEN not in shown.read_text()
        process.terminate()
        said = process.stderr.read()

    assert revcred.texts == numbered(0, written)
    assert TOKEN not in said
    assert KEY not in said
