import asyncio
from threading import Event

import pytest
from prometheus_client import CollectorRegistry

from revcred.server.pools import POOL_METRICS, WAITING_PER_THREAD, PoolFullError, RequestPool


def test_what_runs_in_a_pool_returns_or_raises():
    async def ask():
        pool = RequestPool("some", threads=1, seconds=5)
        assert await pool.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)

    asyncio.run(ask())


def test_a_full_pool_turns_away_and_takes_up_again():
    async def ask():
        go = Event()
        pool = RequestPool("some", threads=1, seconds=5)
        waiting = [
            asyncio.create_task(pool.run(lambda: go.wait(10)))
            for _ in range(1 + WAITING_PER_THREAD)
        ]
        await asyncio.sleep(0.05)
        with pytest.raises(PoolFullError):
            await pool.run(lambda: 7)

        go.set()
        assert all(await asyncio.gather(*waiting))
        await asyncio.sleep(0.05)
        assert await pool.run(lambda: 7) == 7

    asyncio.run(ask())


def test_nobody_waits_longer_than_the_time_of_a_request():
    async def ask():
        go = Event()
        pool = RequestPool("some", threads=1, seconds=0.1)
        with pytest.raises(TimeoutError):
            await pool.run(lambda: go.wait(10))
        # Its place is not free before it has ended.
        assert pool._taken == 1
        go.set()
        await asyncio.sleep(0.1)
        assert pool._taken == 0

    asyncio.run(ask())


def test_metrics_say_how_full_a_pool_is_and_whom_it_disappointed():
    registry = CollectorRegistry()
    for metric in POOL_METRICS:
        registry.register(metric)

    def figures():
        return [
            registry.get_sample_value(f"revcred_pool_{name}", {"pool": "measured"})
            for name in ("places", "requests", "turned_away_total", "late_total")
        ]

    async def ask():
        go = Event()
        pool = RequestPool("measured", threads=1, seconds=0.1)
        places = 1 + WAITING_PER_THREAD
        assert figures() == [places, 0, 0, 0]
        waiting = [asyncio.create_task(pool.run(lambda: go.wait(10))) for _ in range(places)]
        await asyncio.sleep(0.05)
        with pytest.raises(PoolFullError):
            await pool.run(lambda: 7)
        assert figures() == [places, places, 1, 0]

        await asyncio.gather(*waiting, return_exceptions=True)
        go.set()
        await asyncio.sleep(0.1)
        assert figures() == [places, 0, 1, places]

    asyncio.run(ask())


def test_what_is_answering_already_is_waited_for():
    async def ask():
        go = Event()
        pool = RequestPool("some", threads=1, seconds=0.05)
        asyncio.get_running_loop().call_later(0.2, go.set)
        assert await pool.run(lambda: go.wait(10), is_answering=lambda: True)

    asyncio.run(ask())
