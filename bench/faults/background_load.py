"""Processes beside the harness: clients, and people who move credentials and upload lists."""

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.faults import clients
from bench.faults.clients import Address, History
from bench.faults.world import UploadedList, World
from bench.stack import PROCESSES
from revcred.launcher.environment import EnvironmentVariables

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event

BETWEEN_ACTS = 0.6  # seconds

Gateways = dict[str, tuple[int, str]]


@contextmanager
def moving(
    environment: EnvironmentVariables, seed: int
) -> Iterator[tuple[Gateways, Callable[[], World]]]:
    """The world changes in a process of its own. The gateways in it, and how to stop that."""
    stopped = PROCESSES.Event()
    with _aside(_move, dict(environment), seed, stopped) as pipe:

        def stop() -> World:
            stopped.set()
            world: World = pipe.recv()
            return world

        yield pipe.recv(), stop


def _move(
    environment: EnvironmentVariables, seed: int, stopped: "Event", pipe: "Connection[Any, Any]"
) -> None:
    """Sends the gateways' tokens once all is there, and in the end the world as it became."""
    _configure(environment)
    from bench.faults.mover import Mover  # noqa: PLC0415 - models can be imported only now

    mover = Mover(random.Random(seed))  # noqa: S311 - the same acts for the same seed
    pipe.send(mover.seed())
    while not stopped.wait(BETWEEN_ACTS):
        mover.act()
    pipe.send(mover.world)


@contextmanager
def uploading(
    environment: EnvironmentVariables, seed: int
) -> Iterator[Callable[[], list[UploadedList]]]:
    """Upload lists in a process of its own. Gives a function that stops it and returns them."""
    stopped = PROCESSES.Event()
    with _aside(_upload, dict(environment), seed, stopped) as pipe:

        def stop() -> list[UploadedList]:
            stopped.set()
            lists: list[UploadedList] = pipe.recv()
            return lists

        pipe.recv()
        yield stop


def _upload(
    environment: EnvironmentVariables, seed: int, stopped: "Event", pipe: "Connection[Any, Any]"
) -> None:
    _configure(environment)
    from bench.faults.uploader import Uploader  # noqa: PLC0415 - models can be imported only now

    uploader = Uploader(random.Random(seed))  # noqa: S311 - the same lists for the same seed
    pipe.send(None)
    uploader.upload_until(stopped)
    pipe.send(uploader.lists)


def _configure(environment: EnvironmentVariables) -> None:
    os.environ.update(environment, DJANGO_SETTINGS_MODULE="revcred.settings", LOG_LEVEL="ERROR")
    import django  # noqa: PLC0415 - its settings are those of this environment

    django.setup()


@contextmanager
def sending(
    addresses: Mapping[str, Address], gateways: Gateways, seed: int
) -> Iterator[tuple["Synchronized[int]", Callable[[], History]]]:
    """How many transactions have been accepted so far, and how to stop."""
    accepted = PROCESSES.Value("q", 0)
    with _aside(clients.run, dict(addresses), gateways, seed, accepted) as pipe:

        def stop() -> History:
            pipe.send(None)
            history: History = pipe.recv()
            return history

        yield accepted, stop


@contextmanager
def _aside(target: Callable[..., None], *arguments: object) -> Iterator["Connection[Any, Any]"]:
    """A process of its own, that ends with us; the way to speak with it."""
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its end is an end for us
    try:
        yield ours
    finally:
        process.kill()
        process.join()
