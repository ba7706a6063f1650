"""The address of the web process, and checks that it answers."""

import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from http import HTTPStatus

from revcred.launcher.errors import LaunchError

WEB_HOST = "127.0.0.1"
HEALTH_POLL_SECONDS = 0.05


def check_port_free(port: int) -> None:
    """Raises LaunchError if another program listens on the port."""
    with socket.socket() as trial:
        # Connections of the last run that are still closing do not count.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((WEB_HOST, port))
        except OSError as error:
            message = f"Port {port} is not to be had ({error.strerror}). Try: make run PORT=8010"
            raise LaunchError(message) from None


def call_when_healthy(url: str, then: Callable[[], None]) -> None:
    """Call `then` once the web process answers, from a thread of its own.

    The main thread goes on showing what the programs print.
    """
    threading.Thread(target=_wait_until_healthy, args=(url, then), daemon=True).start()


def _wait_until_healthy(url: str, then: Callable[[], None]) -> None:
    while not is_answering(f"{url}/readyz"):
        time.sleep(HEALTH_POLL_SECONDS)
    then()


def is_answering(url: str) -> bool:
    """Return whether a GET of the address answers 200."""
    # No proxy between us and our own machine, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
