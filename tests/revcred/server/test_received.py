import asyncio

import pytest

from revcred.api.errors import BodyTooLarge, BodyTooSlow, MalformedRequest
from revcred.server.received import (
    BodyLimits,
    announced_length,
    receive_body,
    receive_parts,
)

LIMITS = BodyLimits(bytes=100, seconds=0.4, bytes_per_second=1_000, grace_seconds=0.1)


class Sender:
    """Sends parts, each after a pause in seconds. Called, it waits for all of them."""

    def __init__(self, *parts, pause=0.0, hangs_up=False):
        self.parts, self.pause, self.hangs_up = parts, pause, hangs_up

    async def __call__(self):
        if self.hangs_up:
            raise RuntimeError
        return b"".join([part async for part in self])

    async def __aiter__(self):
        for part in self.parts:
            await asyncio.sleep(self.pause)
            yield part


def received(sender, **headers):
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(receive_body(sender, said, LIMITS))


def test_a_body_is_received_whole():
    assert received(Sender(b"one", b"two"), content_length="6") == b"onetwo"
    assert received(Sender(b"one", b"two"), transfer_encoding="chunked") == b"onetwo"
    assert received(Sender()) == b""


def test_a_body_that_is_announced_as_too_long_is_not_waited_for():
    with pytest.raises(BodyTooLarge):
        received(Sender(pause=60), content_length="101")


def test_a_chunked_body_is_cut_off_where_it_gets_too_long():
    with pytest.raises(BodyTooLarge):
        received(Sender(*[b"x" * 60] * 1_000), transfer_encoding="chunked")


@pytest.mark.parametrize("header", [{"content_length": "100"}, {"transfer_encoding": "chunked"}])
def test_a_body_that_drips_is_not_waited_for(header):
    with pytest.raises(BodyTooSlow):
        received(Sender(*[b"x"] * 100, pause=0.05), **header)


def test_a_body_may_take_longer_the_longer_it_is_but_not_for_ever():
    assert [LIMITS.seconds_for(received) for received in (0, 100, 10_000)] == [0.1, 0.2, 0.4]


def test_a_sender_who_hangs_up_has_sent_nothing():
    with pytest.raises(MalformedRequest):
        received(Sender(hangs_up=True), content_length="6")
    with pytest.raises(MalformedRequest):
        received(Sender(b"one"), content_length="6")


@pytest.mark.parametrize("length", ["-1", "1e3", "six", "²"])
def test_a_length_is_a_number(length):
    with pytest.raises(MalformedRequest):
        announced_length({"content-length": length})


def test_parts_are_told_as_they_come():
    async def gather():
        return [part async for part in receive_parts(Sender(b"a", b"b", pause=0.01), LIMITS)]

    assert asyncio.run(gather()) == [b"a", b"b"]
