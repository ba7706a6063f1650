"""OpenTelemetry: off by default, missing packages are named, and what is sent quotes no value."""

import importlib.util
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from revcred.runtime import telemetry

ROOT = Path(__file__).parents[3]
REQUEST_ID = "3ff18560-923f-4932-95ae-3b5d58fd0373"
CANARY = "bIrd-K3y-another_4hape"
# A process of its own: what is sent is sent by threads, and once begun it is not to be stopped.
SCRIPT = f"""
import django
django.setup()
from django.db import OperationalError, connection
from django.test import Client
from revcred.celery import app
from revcred.runtime import telemetry

running = telemetry.start_telemetry("web")
client = Client(raise_request_exception=False)
client.get("/readyz", headers={{"x-request-id": "{REQUEST_ID}"}})
client.get("/nowhere/{CANARY}?key={CANARY}")
with connection.cursor() as cursor:
    cursor.execute("SET statement_timeout = 10")
    try:
        cursor.execute("SELECT pg_sleep(1), %s", ["{CANARY}"])
    except OperationalError:
        pass

@app.task(name="tests.works")
def works(said):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [said])

works.apply(args=["{CANARY}"])
running.flush()
"""


def test_without_a_collector_there_is_nothing(settings):
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = ""

    assert telemetry.start_telemetry("web") is None
    with pytest.raises(MiddlewareNotUsed):
        telemetry.TelemetryMiddleware(lambda _: HttpResponse())


def test_without_the_packages_it_says_so_and_goes_on(settings, monkeypatch, log, rf):
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:9"
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)

    assert telemetry.start_telemetry("web") is None
    assert "OpenTelemetry's packages are not installed" in log()
    answer = telemetry.TelemetryMiddleware(lambda _: HttpResponse("fine"))(rf.get("/"))
    assert answer.content == b"fine"


@pytest.fixture
def collector():
    """A server that takes OTLP: its address, and what it was sent, by path."""
    sent = {}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", sent
        server.shutdown()


@pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.exporter") is None,
    reason="the packages in requirements/otel.txt are not installed",
)
def test_requests_tasks_and_timeouts_are_sent_without_values(collector):
    address, sent = collector
    environment = os.environ | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "DJANGO_SETTINGS_MODULE": "revcred.settings",
        "ALLOWED_HOSTS": "testserver",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

    spans = [
        span
        for body in sent["/v1/traces"]
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    metrics = {
        metric.name
        for body in sent["/v1/metrics"]
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    names = {span.name for span in spans}
    assert {"GET /readyz", "GET /…", "tests.works", "SELECT"} <= names
    (readiness,) = [span for span in spans if span.name == "GET /readyz"]
    said = {each.key: each.value.string_value for each in readiness.attributes}
    assert said["revcred.request_id"] == REQUEST_ID
    assert said["http.route"] == "/readyz"
    assert metrics == {
        "http.server.request.duration",
        "revcred.task.duration",
        "revcred.statement.timeouts",
    }
    assert CANARY.encode() not in b"".join(body for bodies in sent.values() for body in bodies)
