from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from revcred.runtime import preflight


def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers. Asks nobody else, so that an absent database restarts nothing."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """It can serve: the database is there and migrated, and the ring is the right one."""
    try:
        preflight.check_configuration()
    except ImproperlyConfigured as error:
        return JsonResponse({"status": "refused", "message": str(error)}, status=503)
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return JsonResponse({"status": "migrations pending"}, status=503)
    return JsonResponse({"status": "ok"})
