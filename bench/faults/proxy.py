"""A network that behaves badly on demand: proxies of TCP and Unix sockets, in one thread.

What is done to it holds for the bytes of both directions, also of connections already open.
"""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
HANDFUL = 1 << 16
SLICE = 512  # bytes, of a slow connection
GLANCE = 0.02
# Closed at once with a reset, and nothing more is delivered.
LINGER_NOT = b"\1\0\0\0\0\0\0\0"

Target = Path | tuple[str, int]


@dataclass(frozen=True)
class Weather:
    """What happens to every handful of bytes. Times in seconds."""

    latency: float = 0.0
    jitter: float = 0.0  # added to the latency, from none to all of it
    rate: float | None = None  # bytes a second
    silent: bool = False  # nothing is passed on, and nothing is closed
    most: int | None = None  # bytes of a connection after which it is cut


FAIR = Weather()


class Proxy:
    """Passes on what comes in at a port of ours."""

    def __init__(self, target: Target) -> None:
        self.weather = FAIR
        self.port = 0
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        server = await asyncio.start_server(self._accept, HOST, free_port())
        self.port = server.sockets[0].getsockname()[1]

    async def reset(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await self._connect()
        except OSError:
            writer.close()
            return
        ends = {writer, there_writer}
        self._writers |= ends
        try:
            await self._pass_on_both(
                asyncio.ensure_future(self._pass_on(reader, there_writer)),
                asyncio.ensure_future(self._pass_on(there_reader, writer)),
            )
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _pass_on_both(self, *ways: "asyncio.Future[None]") -> None:
        """As soon as one end closes, so do both."""
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await reader.read(HANDFUL):
            await self._hold_back()
            if self.weather.most is not None:
                data = data[: max(0, self.weather.most - passed)]
                passed += len(data)
            await self._write(writer, data)
            if self.weather.most is not None and passed >= self.weather.most:
                return

    async def _hold_back(self) -> None:
        weather = self.weather
        if weather.latency:
            await asyncio.sleep(weather.latency + weather.jitter * random.random())  # noqa: S311
        while self.weather.silent:  # noqa: ASYNC110 - another thread changes it
            await asyncio.sleep(GLANCE)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        rest = data
        while rest:
            rate = self.weather.rate
            step = SLICE if rate else len(rest)
            writer.write(rest[:step])
            await writer.drain()
            rest = rest[step:]
            if rate:
                await asyncio.sleep(step / rate)


class Network:
    """The thread that all proxies run in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # connections break: that is the point
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def proxy(self, target: Target) -> Proxy:
        proxy = Proxy(target)
        self.do(proxy.listen())
        return proxy

    def do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result()


def free_port() -> int:
    """Below those that outgoing connections are given, so that a restart finds it free."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311
        with contextlib.suppress(OSError), socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((HOST, port))
            return port


def _reset(writer: asyncio.StreamWriter) -> None:
    wire = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if wire is not None and wire.family != socket.AF_UNIX:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()
