"""Nodes that share limits through Redis grant what one node would, and go on by themselves while it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import cast

import pytest

from gateway.api.keyring import keyring_of
from gateway.config.gateway import GatewayConfig, Redis
from gateway.core.errors import LimitExceeded
from gateway.core.limits import KeyLimits, LocalUsage, Reservation
from gateway.shared_limits import sharing
from gateway.shared_limits.ledger import SCRIPT
from gateway.shared_limits.sharing import Sharing
from tests.kit.eventually import eventually
from tests.kit.redis_server import RedisServer, needs_redis

pytestmark = needs_redis


YOUNG = "local YOUNG = 150000"


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nodes and Redis be late, as they are on a machine that stands still for a moment.

    What nodes grant together is exact only where each of them tells soon enough what it has used on trust.
    """
    assert YOUNG in SCRIPT
    monkeypatch.setattr(sharing, "SCRIPT", SCRIPT.replace(YOUNG, f"{YOUNG}0"))
    monkeypatch.setattr(sharing, "_ANSWER_SECONDS", 2.0)


@pytest.fixture
async def redis(unhurried: None, tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as server:
        yield server


class Node:
    """What one node knows of the key ``alice``, and shares."""

    def __init__(self, url: str, limits: dict[str, int], prefix: str = "headgate") -> None:
        self.said: list[str] = []
        self.shared: list[bool] = []
        self.usage = LocalUsage()
        settings = Redis(url=url, prefix=prefix)
        self.sharing = Sharing(settings, self.usage.sharing, self.said.append, self.shared.append)
        self.configure(limits, settings)

    def configure(self, limits: dict[str, int], settings: Redis) -> None:
        key = {"id": "alice", "sha256": "0" * 64, "limits": limits}
        config = GatewayConfig.model_validate({"keys": [key], "redis": settings.model_dump()})
        [self.key] = keyring_of(config, self.usage)
        self.sharing.follow([self.key])

    @property
    def limits(self) -> KeyLimits:
        assert self.key.limits is not None
        return self.key.limits

    @property
    def is_shared(self) -> bool:
        return bool(self.usage.sharing[0])

    @property
    def nodes(self) -> int:
        return self.usage.sharing[0]

    @property
    def used(self) -> int:
        return self.limits.quotas[0].rates[0].window.used(perf_counter_ns())

    def asks(self, tokens: int = 0) -> Reservation | None:
        try:
            return self.limits.admit(0, tokens, perf_counter_ns())[0]
        except LimitExceeded:
            return None

    def settles(self, reservation: Reservation, tokens: int) -> None:
        self.limits.settle(reservation, tokens, perf_counter_ns())


@asynccontextmanager
async def nodes(url: str, number: int = 2, **limits: int) -> AsyncIterator[list[Node]]:
    started = [Node(url, limits) for _ in range(number)]
    try:
        for node in started:
            await node.sharing.start()
        # One that believes to be alone trusts itself with all of a limit. Without Redis it knows of none.
        await eventually(lambda: all(node.nodes in (0, number) for node in started))
        yield started
    finally:
        for node in started:
            await node.sharing.stop()


async def granted(asking: list[Node], asked: Callable[[int], bool], *, every: float = 0.005) -> int:
    """Let nodes ask in turns while ``asked`` says so of what they have got until then, and return that."""
    total = 0
    async with asyncio.timeout(60):
        while asked(total):
            for node in asking:
                total += node.asks() is not None
            await asyncio.sleep(every)
    return total


async def granted_in_all(asking: list[Node], limit: int) -> int:
    """Let nodes ask in turns until each of them knows that the limit is used up."""
    return await granted(asking, lambda _: any(node.used < limit for node in asking))


async def granted_at_first(asking: list[Node], turns: int = 15) -> int:
    """Let nodes ask in turns so often that some of the limit is left, and some of it leased."""
    left = iter(range(turns))
    return await granted(asking, lambda _: next(left, None) is not None, every=0.02)


async def test_two_nodes_that_are_asked_evenly_grant_the_limit_exactly(redis: RedisServer) -> None:
    async with nodes(redis.url, requests_per_minute=200) as both:
        assert await granted_in_all(both, 200) == 200
        assert [node.used for node in both] == [200, 200]


async def test_what_one_node_has_used_up_is_used_up_for_the_other(redis: RedisServer) -> None:
    async with nodes(redis.url, requests_per_minute=50) as (one, other):
        assert await granted_in_all([one], 50) == 50
        await eventually(lambda: other.used == 50)
        assert other.asks() is None


async def test_what_one_node_holds_and_does_not_use_goes_to_the_one_that_asks(redis: RedisServer) -> None:
    async with nodes(redis.url, requests_per_minute=100) as (one, other):
        first = await granted_at_first([one], turns=20)
        second = await granted([other], lambda total: first + total < 100)
        assert first + second + await granted_in_all([one, other], 100) == 100


async def test_tokens_are_settled_for_all_nodes(redis: RedisServer) -> None:
    async with nodes(redis.url, tokens_per_minute=10_000) as (one, other):
        reservation = one.asks(4000)
        assert reservation is not None
        await eventually(lambda: other.used >= 4000)
        one.settles(reservation, 100)
        await one.sharing.stop()
        await eventually(lambda: other.used == 100)


async def test_a_node_that_starts_again_knows_what_was_used(redis: RedisServer) -> None:
    async with nodes(redis.url, 1, requests_per_day=10) as [node]:
        for _ in range(4):
            assert node.asks()
    async with nodes(redis.url, 1, requests_per_day=10) as [node]:
        assert node.used == 4


async def test_a_reset_is_heard_by_the_others(redis: RedisServer) -> None:
    async with nodes(redis.url, requests_per_minute=20) as (one, other):
        assert await granted_in_all([one, other], 20) == 20
        one.limits.clear("key 'alice'")
        one.sharing.reset("key 'alice'")
        await eventually(lambda: other.used == 0)
        assert await granted_in_all([one, other], 20) == 20


async def test_another_limit_holds_for_what_was_used_before(redis: RedisServer) -> None:
    async with nodes(redis.url, requests_per_minute=20) as both:
        assert await granted_in_all(both, 20) == 20
        for node in both:
            node.configure({"requests_per_minute": 30}, Redis(url=redis.url))
        assert await granted_in_all(both, 30) == 10


async def test_nodes_with_another_prefix_share_nothing(redis: RedisServer) -> None:
    async with nodes(redis.url, 1, requests_per_minute=5) as [one]:
        assert await granted_in_all([one], 5) == 5
        other = Node(redis.url, {"requests_per_minute": 5}, prefix="other")
        await other.sharing.start()
        assert other.used == 0
        await other.sharing.stop()


async def test_a_redis_that_was_killed_is_told_what_was_used_before_and_meanwhile(redis: RedisServer) -> None:
    async with nodes(redis.url, requests_per_minute=100) as (one, other):
        before = await granted_at_first([one, other])
        await eventually(lambda: one.used >= before and other.used >= before)
        redis.kill()
        await eventually(lambda: not (one.is_shared or other.is_shared))
        meanwhile = sum(node.asks() is not None for node in (one, other) for _ in range(10))
        assert meanwhile == 20
        await redis.start()
        await eventually(lambda: one.is_shared and other.is_shared)
        after = await granted_in_all([one, other], 100)
        # What had not been heard by all nodes is not told again: less than a second of it.
        assert abs(before + meanwhile + after - 100) <= 5
        assert [line.partition(" Redis")[0] for line in one.said] == [
            "limits are shared with other nodes through",
            "limits hold for this node by itself until",
            "limits are shared with other nodes through",
        ]
        assert one.shared[0] is True
        assert one.shared[-1] is True
        assert False in one.shared


async def test_a_redis_that_hangs_counts_nothing_twice(redis: RedisServer) -> None:
    async with nodes(redis.url, requests_per_minute=100) as (one, other):
        before = await granted_at_first([one, other])
        redis.pause()
        meanwhile = sum(node.asks() is not None for node in (one, other) for _ in range(5))
        await eventually(lambda: not (one.is_shared or other.is_shared))
        meanwhile += sum(node.asks() is not None for node in (one, other) for _ in range(10))
        redis.resume()
        await eventually(lambda: one.is_shared and other.is_shared)
        after = await granted_in_all([one, other], 100)
        assert before + meanwhile + after == 100


async def test_a_node_that_starts_without_redis_counts_by_itself_until_it_comes(redis: RedisServer) -> None:
    redis.kill()
    async with nodes(redis.url, requests_per_minute=10) as (one, other):
        assert not one.is_shared
        assert sum(one.asks() is not None for _ in range(20)) == 10
        await redis.start()
        await eventually(lambda: other.is_shared and other.used == 10)
        assert other.asks() is None


class Garbage(asyncio.Protocol):
    """Answers each command with the same."""

    def __init__(self, garbage: bytes, ended: asyncio.Event) -> None:
        self._garbage = garbage
        self._ended = ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._garbage * max(1, data.count(b"*")))

    def connection_lost(self, _: Exception | None) -> None:
        self._ended.set()


GARBAGE = {
    "no protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an endless line": b"$" + b"9" * 3000,
    "OK to everything": b"+OK\r\n",
    "numbers": b":1\r\n",
    "a result that is none": b"$3\r\nabc\r\n",
    "nothing": b"",
    "an error that would colour a terminal": b"-ERR \x1b[31mred\x00\tand more\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_a_server_that_answers_garbage_is_none(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "garbage.sock"
    ended = asyncio.Event()
    server = await asyncio.get_running_loop().create_unix_server(lambda: Garbage(garbage, ended), path)
    async with nodes(f"unix://{path}", 1, requests_per_minute=3) as [node]:
        assert not node.is_shared
        assert sum(node.asks() is not None for _ in range(5)) == 3
        assert len(node.said) == 1
        assert node.said[0].startswith(f"limits hold for this node by itself until Redis at {path} answers: ")
        assert node.said[0].isprintable()
    server.close()
    await ended.wait()


async def test_a_server_of_a_cluster_that_has_not_the_names_says_which_one_has(tmp_path: Path) -> None:
    path, ended = tmp_path / "moved.sock", asyncio.Event()
    moved = Garbage(b"-MOVED 866 10.0.0.7:6379\r\n", ended)
    server = await asyncio.get_running_loop().create_unix_server(lambda: moved, path)
    async with nodes(f"unix://{path}", 1, requests_per_minute=3) as [node]:
        assert node.said[0].endswith("answers: MovedError: 866 10.0.0.7:6379")
    server.close()
    await ended.wait()


async def test_a_password_is_never_shown() -> None:
    node = Node("redis://alice:s3cret@127.0.0.1:1/3", {"requests_per_minute": 3})
    await node.sharing.start()
    shown = "".join(node.said) + repr(node.sharing)
    await node.sharing.stop()
    assert "127.0.0.1:1" in shown
    assert "s3cret" not in shown
