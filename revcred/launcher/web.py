"""Where the web process answers, and whether it does."""

import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from http import HTTPStatus

from revcred.launcher.errors import LaunchError

HOST = "127.0.0.1"
GLANCE = 0.05


def refuse_taken(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            message = f"Port {port} is not to be had ({error.strerror}). Try: make run PORT=8010"
            raise LaunchError(message) from None


def when_healthy(url: str, then: Callable[[], None]) -> None:
    """Off the main thread, which goes on passing on what the processes print."""
    threading.Thread(target=_wait, args=(url, then), daemon=True).start()


def _wait(url: str, then: Callable[[], None]) -> None:
    while not answers(f"{url}/healthz"):
        time.sleep(GLANCE)
    then()


def answers(url: str) -> bool:
    # No proxy between us and our own machine, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
