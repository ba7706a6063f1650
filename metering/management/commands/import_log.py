import sys
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metering.agent.importing import DoorInProcess
from metering.agent.revcred_agent import (
    AgentError,
    Courier,
    LineSender,
    State,
    Warnings,
    default_state,
    import_with,
)
from metering.api.line_formats.choosing import format_choices
from revcred.models import Gateway


class Command(BaseCommand):
    """Takes in log files that lie on the server, as `revcred-agent import` does elsewhere."""

    help = (
        "Take in the lines of log files, also of .gz, for a gateway. What was taken in before, by"
        " this command or by revcred-agent with the same --host, is not counted again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE")
        parser.add_argument("--gateway", required=True, metavar="NAME", help="Whose log it is.")
        parser.add_argument(
            "--format",
            choices=[name for name, _ in format_choices()],
            help="How its lines are read. Without it: as the gateway's page says.",
        )
        parser.add_argument("--host", default="", help="The host that wrote the files.")
        parser.add_argument(
            "--state",
            type=Path,
            default=default_state(),
            help="Directory in which it is noted how far each file was read (%(default)s).",
        )
        parser.add_argument(
            "--again", action="store_true", help="Also what was read before. It counts once."
        )

    def handle(self, *args: Any, files: list[str], gateway: str, **options: Any) -> None:
        found = Gateway.objects.filter(name=gateway).first()
        if found is None:
            message = f"There is no gateway “{gateway}”."
            raise CommandError(message)
        if options["format"]:
            found.line_format = options["format"]  # for these files alone
        warnings, stopping = Warnings(), threading.Event()
        try:
            state = State(options["state"], options["host"])
            courier = Courier(DoorInProcess(found), None, warnings, stopping, gives_up=True)
            sender = LineSender(courier)
            with state.locked("import"):
                status = import_with(sender, files, state, warnings, again=options["again"])
        except AgentError as error:
            raise CommandError(str(error)) from error
        if status:
            sys.exit(status)
