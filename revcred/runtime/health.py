"""Health checks for load balancers and orchestrators."""

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, JsonResponse

from revcred.runtime import preflight, schema_version


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that the process is alive, without the database: its loss must restart no process."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the process can serve: schema, settings and keyring right."""
    try:
        preflight.check_configuration()
    except ImproperlyConfigured as error:
        return JsonResponse({"status": "refused", "message": str(error)}, status=503)
    if unknown := schema_version.unknown_migrations():
        message = f"This code does not know migrations of the database: {', '.join(unknown)}."
        return JsonResponse({"status": "older than the database", "message": message}, status=503)
    if schema_version.pending_migrations():
        return JsonResponse({"status": "migrations pending"}, status=503)
    return JsonResponse({"status": "ok"})
