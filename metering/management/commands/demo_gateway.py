import signal
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from metering.demo.gateway import DemoGateway


class Command(BaseCommand):
    """Runs the demo's gateway until it is stopped."""

    help = "Post a few transactions every second or two to the real door, as the demo's gateway."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", required=True, help="Such as http://127.0.0.1:8000.")

    def handle(self, *args: Any, url: str, **options: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        DemoGateway(url).run()
