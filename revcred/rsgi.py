"""The application that granian runs: `granian revcred.rsgi:application --interface rsgi`."""

from revcred.wsgi import application as django_application  # isort: skip - it sets Django up

from django.utils.module_loading import import_string

from revcred.server.server import Server

application = Server(
    doors=import_string("metering.api.event_loop_doors.EventLoopDoors")(),
    checks=import_string("metering.api.verification.event_loop_checks.EventLoopChecks")(),
    application=django_application,
)
