"""The examples for backends accept what revcred signed for them, and nothing else."""

import base64
import json
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.utils import timezone

from deploy.backends.claim import ClaimChecker, InvalidClaim
from metering.verification.signed_claims import ClaimSigner
from revcred.signing import published_keys, rotate_keys, usable_keys

pytestmark = pytest.mark.django_db

EXAMPLES = Path(__file__).parents[2] / "deploy" / "backends"
DOCS = (EXAMPLES.parents[1] / "docs" / "gateways.md").read_text()
OWNER = {
    "credential": "cred_1",
    "subscription": "fleet",
    "customer": "acme",
    "product": "maps",
    "environment": "production",
    "tags": ("eu",),
}
# Reads claims from its input, one a line, and says of each whose it is.
NODE = """
import {{ createInterface }} from "node:readline";
import {{ ClaimChecker, InvalidClaim }} from {module};
const checker = new ClaimChecker({revcred}, "edge");
for await (const line of createInterface({{ input: process.stdin }})) {{
  try {{
    console.log((await checker.check(JSON.parse(line))).customer);
  }} catch (error) {{
    if (!(error instanceof InvalidClaim)) throw error;
    console.log("invalid");
  }}
}}
"""
GO = """
package main

import (
	"backend/claim"
	"bufio"
	"fmt"
	"os"
)

func main() {
	checker := claim.NewChecker(REVCRED, "edge")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		owner, err := checker.Check(lines.Text())
		if err == claim.ErrInvalid {
			fmt.Println("invalid")
		} else if err != nil {
			panic(err)
		} else {
			fmt.Println(owner.Customer)
		}
	}
}
"""


class Keys(BaseHTTPRequestHandler):
    """Publishes what it is given, as revcred does."""

    published = ()

    def do_GET(self):
        body = json.dumps({"keys": list(self.published)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def publishing(keys):
    handler = type("Published", (Keys,), {"published": keys})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def checked_by_python(revcred, claims, _directory):
    checker = ClaimChecker(revcred, gateway="edge")
    for claim in claims:
        try:
            yield checker.check(claim)["customer"]
        except InvalidClaim:
            yield "invalid"


def checked_by_node(revcred, claims, _directory):
    if not (node := shutil.which("node")):
        pytest.skip("node is not here")
    module = (EXAMPLES / "claim.mjs").as_uri()
    script = NODE.format(module=json.dumps(module), revcred=json.dumps(revcred))
    told = subprocess.run(
        [node, "--input-type=module", "--eval", script],
        input="".join(f"{json.dumps(claim)}\n" for claim in claims),
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.split()


def checked_by_go(revcred, claims, directory):
    if not (go := shutil.which("go")):
        pytest.skip("go is not here")
    (directory / "claim").mkdir()
    shutil.copy(EXAMPLES / "claim.go", directory / "claim")
    (directory / "go.mod").write_text("module backend\n\ngo 1.19\n")
    (directory / "main.go").write_text(GO.replace("REVCRED", json.dumps(revcred)))
    told = subprocess.run(
        [go, "run", "."],
        cwd=directory,
        env=os.environ | {"GOCACHE": str(directory / "cache"), "GOFLAGS": "-mod=mod"},
        input="".join(f"{claim}\n" for claim in claims),
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.split()


def changed(claim, part, **said):
    """Return the claim with other content in its header (0) or body (1), and the old signature."""
    parts = claim.split(".")
    text = json.loads(base64.urlsafe_b64decode(parts[part] + "=="))
    encoded = base64.urlsafe_b64encode(json.dumps(text | said).encode()).decode().rstrip("=")
    return ".".join([*parts[:part], encoded, *parts[part + 1 :]])


@pytest.mark.parametrize(
    "check",
    # Compiling takes Go half a minute.
    [checked_by_python, checked_by_node, pytest.param(checked_by_go, marks=pytest.mark.long)],
)
def test_an_example_accepts_nothing_but_the_claim(check, settings, tmp_path):
    now = timezone.now()
    strangers = ClaimSigner([rotate_keys(now)])
    rotate_keys(now, at_once=True)
    sign = partial(ClaimSigner(usable_keys(now)).sign, audience="edge", now=now, **OWNER)
    with publishing(published_keys(now)) as revcred:
        settings.PUBLIC_URL = revcred
        good = sign()
        settings.PUBLIC_URL = "https://another.example"
        of_another = sign(audience="edge", customer="another", now=now)
        settings.PUBLIC_URL = revcred
        bad = [
            of_another,
            sign(now=now - timedelta(minutes=5), customer="late"),
            sign(audience="another gateway"),
            strangers.sign(audience="edge", now=now, **OWNER),
            changed(good, 1, customer="forged"),
            changed(good, 0, alg="none"),
            changed(good, 0, alg="none").rpartition(".")[0] + ".",
            changed(good, 0, alg="HS256"),
            changed(good, 0, kid="unknown"),
            good[:-4] + "AAAA",
            *("", "x", "..", "a.b.c", good + ".x", good.rpartition(".")[0]),
        ]

        told = list(check(revcred, [good, *bad, good], tmp_path))

    assert told == ["acme", *["invalid"] * len(bad), "acme"]


@pytest.mark.parametrize("file", ["claim.py", "claim.mjs", "claim.go"])
def test_the_docs_link_each_example(file):
    assert f"(../deploy/backends/{file})" in DOCS
