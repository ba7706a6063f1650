"""Health checks for load balancers and orchestrators."""

from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from revcred.runtime import preflight


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that the process is alive, without the database: its loss must restart no process."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the process can serve: database migrated, settings and keyring right."""
    try:
        preflight.check_configuration()
    except ImproperlyConfigured as error:
        return JsonResponse({"status": "refused", "message": str(error)}, status=503)
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return JsonResponse({"status": "migrations pending"}, status=503)
    return JsonResponse({"status": "ok"})
