"""OpenTelemetry: traces and durations of requests, tasks and statements.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set. The packages for it are optional. Spans name routes,
statuses, tasks and kinds of statements: no path, no value, and no message of an error.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.db import OperationalError
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse

from revcred.client_address import is_trusted_proxy
from revcred.request_id import current_request_id
from revcred.runtime.logs import route_of

logger = logging.getLogger(__name__)

STATEMENT_TIMED_OUT_STATE = "57014"
HTTP_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MISSING_PACKAGES_MESSAGE = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry's packages are not installed, so nothing"
    " is sent there. Install requirements/otel.txt, or unset it."
)


class Telemetry:
    """Spans and durations of this process, sent by threads of their own.

    The packages read further OTEL_… variables themselves, such as headers and the sampler.
    Raises ImportError if they are not installed.
    """

    def __init__(self, process_name: str) -> None:
        # Optional packages, and slow to load.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter,
        )
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, StatusCode, get_current_span  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME") or f"revcred-{process_name}",
                # Each process counts for itself, so each needs series of its own.
                "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            }
        )
        self._spans = TracerProvider(resource=resource)
        self._spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._metrics = MeterProvider(
            resource=resource, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())]
        )
        self._kinds, self._statuses = SpanKind, StatusCode
        self._current_span = get_current_span
        self._tracer = self._spans.get_tracer("revcred")
        self._propagator = TraceContextTextMapPropagator()
        meter = self._metrics.get_meter("revcred")
        self._request_seconds = meter.create_histogram("http.server.request.duration", "s")
        self._task_seconds = meter.create_histogram("revcred.task.duration", "s")
        self._timeouts = meter.create_counter("revcred.statement.timeouts")

    def flush(self) -> None:
        """Send what has been gathered, and wait for it."""
        self._spans.force_flush()
        self._metrics.force_flush()

    def answer(
        self, request: HttpRequest, get_response: Callable[[HttpRequest], HttpResponse]
    ) -> HttpResponse:
        """Answer a request within a span. Only a trusted proxy's `traceparent` is its parent."""
        is_trusted = is_trusted_proxy(request.META.get("REMOTE_ADDR", ""))
        context = self._propagator.extract(dict(request.headers.items())) if is_trusted else None
        method = request.method if request.method in HTTP_METHODS else "_OTHER"
        began = time.monotonic()
        with self._tracer.start_as_current_span(
            str(method), context=context, kind=self._kinds.SERVER
        ) as span:
            response = get_response(request)
            attributes: dict[str, str | int] = {
                "http.request.method": str(method),
                "http.route": route_of(request),
                "http.response.status_code": response.status_code,
            }
            span.update_name(f"{method} {attributes['http.route']}")
            span.set_attributes({**attributes, "revcred.request_id": current_request_id()})
            if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.set_status(self._statuses.ERROR)
        self._request_seconds.record(time.monotonic() - began, attributes)
        return response

    @contextmanager
    def task(self, name: str, task_id: str) -> Iterator[None]:
        """Run a worker's task within a span."""
        began = time.monotonic()
        with self._tracer.start_as_current_span(
            name,
            kind=self._kinds.CONSUMER,
            attributes={"revcred.request_id": task_id},
        ):
            yield
        self._task_seconds.record(time.monotonic() - began, {"revcred.task": name})

    def statement(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: Any, context: Any
    ) -> Any:
        """Execute a statement within a span, if it is a part of something that has one."""
        if not self._current_span().is_recording():
            return self._counting_timeouts(execute, sql, params, many, context)
        operation = str(sql).lstrip().partition(" ")[0][:20].upper() if isinstance(sql, str) else ""
        with self._tracer.start_as_current_span(
            operation or "SQL",
            kind=self._kinds.CLIENT,
            attributes={"db.system.name": "postgresql", "db.operation.name": operation},
            # Messages of PostgreSQL quote values.
            record_exception=False,
            set_status_on_exception=False,
        ):
            return self._counting_timeouts(execute, sql, params, many, context)

    def _counting_timeouts(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return execute(*arguments)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) == STATEMENT_TIMED_OUT_STATE:
                self._timeouts.add(1)
            raise


class _Running:
    """What this process has started."""

    telemetry: Telemetry | None = None
    task = ExitStack()


def start_telemetry(process_name: str) -> Telemetry | None:
    """Start sending, if a collector is named. Call it in each process, after any fork."""
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return None
    try:
        _Running.telemetry = Telemetry(process_name)
    except ImportError:
        logger.warning(MISSING_PACKAGES_MESSAGE)
        return None
    connection_created.connect(_watch_connection)
    logger.info("Traces and metrics are sent by OpenTelemetry.")
    return _Running.telemetry


def begin_task_span(name: str, task_id: str) -> None:
    """Begin the span of a worker's task, if telemetry is on."""
    if _Running.telemetry:
        _Running.task.enter_context(_Running.telemetry.task(name, task_id))


def end_task_span() -> None:
    _Running.task.close()


class TelemetryMiddleware:
    """Answers requests within spans. Left out if no collector is named."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if _Running.telemetry is None:
            return self.get_response(request)
        return _Running.telemetry.answer(request, self.get_response)


def _watch_connection(*, connection: Any, **_: Any) -> None:
    telemetry = _Running.telemetry
    if telemetry and telemetry.statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(telemetry.statement)
