"""Log filter and formatter: no key, and no value that a request or an error quotes.

Of a URL the route is logged, and of an unknown one its first segment at most. Of an exception the
class, PostgreSQL's code and the lines of code are logged, and never the message: it quotes what was
sent or stored, such as the DETAIL of a violated constraint.
"""

import json
import logging
import re
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest
from django.urls import get_resolver

from revcred.redaction import ELLIPSIS, redact_text
from revcred.request_id import current_request_id, request_id_of

# Their messages quote URLs, headers and values. Messages of revcred never do.
QUOTING_LOGGERS = (
    "django",
    "_granian",
    "granian",
    "asyncio",
    "allauth",
    "psycopg",
    "celery",
    "kombu",
    "opentelemetry",
)
# The sender chooses the id of a transaction, and some choose a key.
RECEIPT_PATH_PATTERN = re.compile(r"(/v1/transactions/)\S.*", re.DOTALL)
QUERY_PATTERN = re.compile(r"(?<=[\w/%.~-])\?[^\s\"']+")
PATH_PATTERN = re.compile(r"(?<![\w:/.<])/[^\s\"'?#,;)]*")
REASON_SEPARATOR = " - "  # Django quotes the header behind it
MAX_EXCEPTION_CAUSES = 10


class RedactingFilter(logging.Filter):
    """Cuts keys, secrets and tokens out of messages, and values out of those of other packages."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "is_without_keys", False):  # more than one handler tells of it
            return True
        record.is_without_keys = True
        try:
            message = _message_without_values(record)
        except Exception:  # noqa: BLE001 - arguments that do not fit must not fail the request
            message = str(record.msg)
        shown = redact_text(RECEIPT_PATH_PATTERN.sub(rf"\1{ELLIPSIS}", message))
        record.msg, record.args = shown, ()
        return True


class ClientErrorsFilter(logging.Filter):
    """Makes one line of whatever a client did wrong: anybody may repeat it, and fill the log.

    Lines about a refusal (403) or an unknown host are at INFO.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        status = getattr(record, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR)
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            record.exc_info = record.exc_text = None
        if status == HTTPStatus.FORBIDDEN or record.name == "django.security.DisallowedHost":
            record.levelno, record.levelname = logging.INFO, "INFO"
        # The logger let it pass at its first level.
        return record.levelno >= logging.getLogger().level


class RedactingFormatter(logging.Formatter):
    """Formats exceptions without their messages."""

    def format(self, record: logging.LogRecord) -> str:
        # Another handler may have formatted the exception already, with its message.
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = kept

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        line = super().formatMessage(record)
        request_id = _request_id_of_record(record)
        return f"{line} request={request_id}" if request_id else line

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        return exception_text(ei[1])


class JsonFormatter(RedactingFormatter):
    """Formats each record as one line of JSON, for programs that collect logs."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": _request_id_of_record(record),
            "process": record.process,
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            fields |= {"error": exception_name(error), "traceback": exception_text(error)}
        return json.dumps({name: value for name, value in fields.items() if value})


def _request_id_of_record(record: logging.LogRecord) -> str:
    request = getattr(record, "request", None)
    return (
        request_id_of(request) if isinstance(request, HttpRequest) else ""
    ) or current_request_id()


def exception_text(error: BaseException | None) -> str:
    """Return the traceback of an exception and of its causes, with names in place of texts."""
    parts: list[str] = []
    for _ in range(MAX_EXCEPTION_CAUSES):
        if error is None:
            break
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{exception_name(error)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nCaused by:\n".join(parts)


def exception_name(error: BaseException) -> str:
    """Return the class of an exception, with what PostgreSQL says of it that is no value."""
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, BaseExceptionGroup):
        return f"{name} of {', '.join(exception_name(each) for each in error.exceptions)}"
    known = [getattr(error, "sqlstate", None)]
    if diagnosis := getattr(error, "diag", None):
        known += [diagnosis.table_name, diagnosis.constraint_name]
    details = ", ".join(each for each in known if each)
    return f"{name} ({details})" if details else name


def log_threads() -> None:
    """Log what ends a thread like any other error. Python would print its message."""
    threading.excepthook = _log_end_of_thread


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "unknown"
    error = ended.exc_value
    exc_info = (ended.exc_type, error, ended.exc_traceback) if error else None
    logging.getLogger(__name__).error("The thread %s ended", name, exc_info=exc_info)


def _message_without_values(record: logging.LogRecord) -> str:
    if isinstance(record.args, Mapping):  # as Celery tells of a task
        record.args = {
            name: _task_field(name, value, record) for name, value in record.args.items()
        }
    elif record.args:
        record.args = tuple(
            exception_name(each) if isinstance(each, BaseException) else each
            for each in record.args
        )
    if isinstance(record.msg, BaseException):
        record.msg = exception_name(record.msg)
    message = record.getMessage()
    if not record.name.startswith(QUOTING_LOGGERS):
        return message
    request = getattr(record, "request", None)
    if isinstance(request, HttpRequest):
        message = message.replace(request.path, route_of(request))
    if record.name.startswith("django.security"):
        message = _security_message(record)
    message = QUERY_PATTERN.sub(f"?{ELLIPSIS}", message)
    return PATH_PATTERN.sub(lambda found: _known_path_start(found[0]), message)


def _task_field(name: str, value: Any, record: logging.LogRecord) -> Any:
    if name in {"args", "kwargs", "traceback", "return_value"}:
        return ELLIPSIS
    if name == "exc":
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return exception_name(error) if error else str(value).partition("(")[0]
    return exception_name(value) if isinstance(value, BaseException) else value


def _security_message(record: logging.LogRecord) -> str:
    """Return the kind of a suspicious request, for CSRF also the reason, without the header."""
    reasons = [str(each).partition(REASON_SEPARATOR)[0] for each in record.args or ()]
    request = getattr(record, "request", None)
    at = route_of(request) if isinstance(request, HttpRequest) else ""
    if record.name == "django.security.csrf" and reasons:
        return f"Forbidden ({reasons[0]}): {at}"
    return f"{record.name.rpartition('.')[2]}: {at}"


def route_of(request: HttpRequest) -> str:
    """Return the route of a request, or the known start of its path."""
    match = request.resolver_match
    return f"/{match.route}" if match else _known_path_start(request.path)


def _known_path_start(path: str) -> str:
    """Return the first segment of a path if a route begins with it. A route stays as it is."""
    if "<" in path:
        return path
    first, slash, rest = path[1:].partition("/")
    if first not in _first_path_segments():
        return path if path == "/" else f"/{ELLIPSIS}"
    return f"/{first}{slash}{ELLIPSIS}" if rest else path


@cache
def _first_path_segments() -> frozenset[str]:
    patterns = get_resolver().url_patterns
    below = [inside for each in patterns for inside in getattr(each, "url_patterns", [])]
    routes = [str(each.pattern).lstrip("^") for each in [*patterns, *below]]
    return frozenset(re.split(r"[/<(]", route)[0] for route in routes) - {""}
