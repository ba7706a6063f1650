"""Health checks for load balancers and orchestrators.

The server answers both without a thread: see `revcred.server`. The views are for other servers.
"""

from http import HTTPStatus

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, JsonResponse

from revcred.runtime import preflight, schema_version

ALIVE = {"status": "ok"}


def check_readiness() -> tuple[HTTPStatus, dict[str, str]]:
    """Return 200 if a process can serve: schema, settings and keyring right. Else 503, and why.

    Raises:
        django.db.Error: the database is unavailable.
    """
    try:
        preflight.check_configuration()
    except ImproperlyConfigured as error:
        return HTTPStatus.SERVICE_UNAVAILABLE, {"status": "refused", "message": str(error)}
    if unknown := schema_version.unknown_migrations():
        message = f"This code does not know migrations of the database: {', '.join(unknown)}."
        return HTTPStatus.SERVICE_UNAVAILABLE, {
            "status": "older than the database",
            "message": message,
        }
    if schema_version.pending_migrations():
        return HTTPStatus.SERVICE_UNAVAILABLE, {"status": "migrations pending"}
    return HTTPStatus.OK, ALIVE


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that the process is alive, without the database: its loss must restart no process."""
    return JsonResponse(ALIVE)


def readyz(request: HttpRequest) -> JsonResponse:
    status, body = check_readiness()
    return JsonResponse(body, status=status)
