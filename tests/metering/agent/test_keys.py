"""Lists of keys that gateways let in: read from their own files and addresses, and sent."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from metering.agent import revcred_agent
from metering.agent.revcred_agent import AgentError

KEYS = [f"caller-key-{number:04}" for number in range(3)]
ADMIN_PASSWORD = "the-admin-password-of-the-gateway"


@contextmanager
def admin_address(answers):
    """A gateway's admin address: JSON by path, for whoever sends the password."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = answers.get(self.path)
            allowed = self.headers.get("X-API-KEY") == ADMIN_PASSWORD
            self.send_response(200 if found and allowed else 302 if allowed else 401)
            self.send_header("Location", "http://elsewhere.example.com/")
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def runtime_api(tmp_path, answer):
    """HAProxy's socket: one command, one answer."""
    path, heard = str(tmp_path / "haproxy.sock"), []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve():
            connection, _ = listening.accept()
            with connection:
                heard.append(connection.recv(65_536).decode())
                connection.sendall(answer.encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield path, heard
        thread.join()


@pytest.fixture
def header_file(tmp_path):
    path = tmp_path / "admin-header"
    path.write_text(f"X-API-KEY: {ADMIN_PASSWORD}\n")
    return path


@pytest.fixture
def read(agent):
    def read(source, *more):
        options = agent.options("keys", source, *more)
        return [key.posted() for key in revcred_agent.KEY_SOURCES[source](options)]

    return read


def steps(revcred):
    return [json.loads(body) for path, _, body in revcred.posts if path == "/v1/keys/inventory"]


def test_sends_pages_between_a_beginning_and_an_end(agent, revcred, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(revcred_agent, "MAX_KEYS_PER_PAGE", 2)
    listed = tmp_path / "keys.map"
    listed.write_text("# keys\n" + "".join(f"{key} cred_{key[-1]}\n" for key in KEYS))
    revcred.judge_key = lambda key: "It is not one." if key == KEYS[2] else ""

    assert agent.run("keys", "haproxy", listed) == 1

    begin, first, second, end = steps(revcred)
    assert begin == {"step": "begin", "read_from": "haproxy"}
    assert first["keys"] == [
        {"key": KEYS[0], "label": "cred_0"},
        {"key": KEYS[1], "label": "cred_1"},
    ]
    assert (first["page"], second["page"], end["pages"]) == (0, 1, 2)
    assert {each["inventory"] for each in (first, second, end)} == {"inventory-1"}
    said = capsys.readouterr().out
    assert said == "3 keys, 3 of them enabled, were sent.\n1 were rejected: It is not one.\n"
    # Nothing of it is left on this host.
    assert not any(
        KEYS[0].encode() in path.read_bytes() for path in agent.state.rglob("*") if path.is_file()
    )


def test_a_dry_run_counts_and_needs_neither_address_nor_token(tmp_path, capsys):
    listed = tmp_path / "keys.csv"
    listed.write_text(f"Key,Enabled\n{KEYS[0]},yes\n{KEYS[1]},no\n")

    assert revcred_agent.main(["keys", "csv", str(listed), "--dry-run"]) == 0
    assert capsys.readouterr().out == "2 keys, 1 of them enabled. Nothing was sent.\n"


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "does not accept the token"), (409, "Begin another one.")],
)
def test_an_answer_that_only_people_can_change_ends_it(agent, revcred, tmp_path, status, said):
    listed = tmp_path / "keys.map"
    listed.write_text(f"{KEYS[0]}\n")
    revcred.answers.append((status, {}, {"code": "x", "message": "Begin another one."}))

    with pytest.raises(AgentError, match=said) as raised:
        agent.run("keys", "haproxy", listed)

    assert KEYS[0] not in str(raised.value)


def test_an_empty_list_is_taken_for_a_mistake(agent, revcred, tmp_path):
    listed = tmp_path / "keys.map"
    listed.write_text("# none yet\n")

    with pytest.raises(AgentError, match="No key was found"):
        agent.run("keys", "haproxy", listed)

    assert steps(revcred) == []


def test_haproxy_is_asked_for_the_map_that_is_in_force(read, tmp_path):
    answer = f"0x55d0 {'ab' * 32} cred_1\n0x55d1 {'cd' * 32} cred_2\n\n"

    with runtime_api(tmp_path, answer) as (path, heard):
        keys = read("haproxy", "/etc/haproxy/keys.map", "--socket", path, "--digests")

    assert heard == ["show map /etc/haproxy/keys.map\n"]
    assert keys == [
        {"digest": "ab" * 32, "label": "cred_1"},
        {"digest": "cd" * 32, "label": "cred_2"},
    ]


def test_a_map_that_haproxy_has_not(read, tmp_path):
    with (
        runtime_api(tmp_path, "Unknown map identifier. Please use #<id> or <file>.\n\n") as (
            path,
            _,
        ),
        pytest.raises(AgentError, match="knows no map"),
    ):
        read("haproxy", "/none", "--socket", path)


def test_a_map_of_nginx(read, tmp_path):
    listed = tmp_path / "keys.map"
    listed.write_text(
        'default "";\n# comment\n"caller \\"key\\"" cred_1;\n'
        'caller-key-0001 "cred_2";\n\\default x;\n'
    )

    assert read("nginx", listed) == [
        {"key": 'caller "key"', "label": "cred_1"},
        {"key": "caller-key-0001", "label": "cred_2"},
        {"key": "default", "label": "x"},
    ]


def test_express_gateway(read, header_file):
    listed = [
        {
            "type": "key-auth",
            "keyId": "a",
            "keySecret": "b",
            "isActive": True,
            "consumerId": "acme",
        },
        {
            "type": "key-auth",
            "keyId": "c",
            "keySecret": "d",
            "isActive": "false",
            "createdAt": "Thu Jan 01 2026",
        },
        {"type": "basic-auth", "id": "nobody's key"},
    ]

    with admin_address({"/credentials": {"credentials": listed}}) as url:
        keys = read("express-gateway", url, "--header-file", header_file)

    assert keys == [{"key": "a:b", "label": "acme"}, {"key": "c:d", "enabled": False}]


def test_kong_by_its_admin_address(read, header_file):
    pages = {
        "/consumers?size=1000": {"data": [{"id": "1", "username": "acme"}], "next": None},
        "/key-auths?size=1000": {
            "data": [{"key": KEYS[0], "consumer": {"id": "1"}, "created_at": 1767225600}],
            "next": "/key-auths?offset=x",
        },
        "/key-auths?offset=x": {"data": [{"key": KEYS[1], "consumer": {"id": "2"}}]},
    }

    with admin_address(pages) as url:
        keys = read("kong", url, "--header-file", header_file)

    assert keys == [
        {"key": KEYS[0], "label": "acme", "created_at": "2026-01-01T00:00:00+00:00"},
        {"key": KEYS[1], "label": "2"},
    ]


def test_kong_by_its_configuration(read, tmp_path):
    listed = tmp_path / "kong.json"
    nested = {"username": "acme", "keyauth_credentials": [{"key": KEYS[0]}]}
    flat = [{"key": KEYS[1], "consumer": "harbour"}]
    listed.write_text(json.dumps({"consumers": [nested], "keyauth_credentials": flat}, indent=1))

    assert read("kong", listed) == [
        {"key": KEYS[1], "label": "harbour"},
        {"key": KEYS[0], "label": "acme"},
    ]


def test_apisix_with_credentials_of_consumers(read, header_file):
    def listing(*values):
        return {"total": len(values), "list": [{"value": value} for value in values]}

    plugins = {"key-auth": {"key": KEYS[1], "_meta": {"disable": True}}}
    consumers = "/apisix/admin/consumers"
    pages = {
        f"{consumers}?page=1&page_size=500": listing(
            {"username": "acme", "plugins": {"key-auth": {"key": KEYS[0]}}}, {"username": "b c"}
        ),
        f"{consumers}/acme/credentials?page=1&page_size=500": listing({"plugins": plugins}),
        f"{consumers}/b%20c/credentials?page=1&page_size=500": listing(),
    }

    with admin_address(pages) as url:
        keys = read("apisix", url, "--header-file", header_file)

    assert keys == [
        {"key": KEYS[0], "label": "acme"},
        {"key": KEYS[1], "enabled": False, "label": "acme"},
    ]


@pytest.mark.parametrize(
    ("answers", "password", "said"),
    [
        ({}, "another", "answers 401"),
        ({}, ADMIN_PASSWORD, "answers 302"),  # and the password goes nowhere else
        ({"/credentials": {"credentials": [{"type": "key-auth", "id": KEYS[0]}]}}, None, "shape"),
    ],
)
def test_no_error_quotes_an_answer_or_the_password(agent, header_file, answers, password, said):
    if password == "another":
        header_file.write_text("X-API-KEY: another\n")

    with admin_address(answers) as url, pytest.raises(AgentError, match=said) as raised:
        agent.run("keys", "express-gateway", url, "--header-file", header_file)

    assert KEYS[0] not in str(raised.value)
    assert ADMIN_PASSWORD not in str(raised.value)
