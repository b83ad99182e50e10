"""What Redis counts and leases, asked as a node asks it, and answers that are none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.shared_limits.ledger import SCRIPT, Answer, Batch, Entry, LedgerError, Usage, exchange
from tests.kit.redis_server import RedisServer, needs_redis

MINUTE = 60_000_000


def entry(name: str = "key 'alice' requests_per_minute", **said: Any) -> Entry:
    defaults = {"limit": 100, "length": MINUTE, "charge": 0, "late": 0, "want": 0, "need": 0, "reset": False}
    return Entry(name=name, known=said.pop("known", ()), **{**defaults, **said})


class Ledger:
    """Several nodes' view of one ledger."""

    def __init__(self, client: Any) -> None:
        self._script = client.register_script(SCRIPT)
        self._number = 0

    async def asked(self, *entries: Entry, node: str = "a", number: int | None = None) -> list[Answer]:
        self._number += 1
        batch = Batch(node, self._number if number is None else number, 0, entries)
        return (await exchange(self._script, "t", batch)).answers


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with RedisServer(tmp_path) as server, Redis.from_url(server.url, protocol=2) as client:
        yield Ledger(client)


@needs_redis
async def test_what_is_leased_counts_as_used_and_more_than_a_quarter_is_given_only_where_it_is_needed(
    ledger: Ledger,
) -> None:
    [answer] = await ledger.asked(entry(want=20, need=1))
    assert (answer.leased, answer.current) == (20, 20)
    [answer] = await ledger.asked(entry(want=80, need=1))
    assert (answer.leased, answer.current) == (20, 40)
    [answer] = await ledger.asked(entry(want=80, need=60))
    assert (answer.leased, answer.current) == (60, 100)
    [answer] = await ledger.asked(entry(want=1, need=1))
    assert (answer.leased, answer.current) == (0, 100)


@needs_redis
async def test_a_batch_that_comes_twice_counts_once_and_is_leased_the_same(ledger: Ledger) -> None:
    asks = entry(charge=7, want=20, need=1)
    first = await ledger.asked(asks, number=41)
    again = await ledger.asked(asks, number=41)
    assert (first[0].leased, first[0].current) == (again[0].leased, again[0].current) == (20, 27)
    [other] = await ledger.asked(asks, number=41, node="b")
    assert other.current > 27


@needs_redis
async def test_what_a_node_knew_is_taken_over_only_where_nothing_is_known(ledger: Ledger) -> None:
    [answer] = await ledger.asked(entry(charge=3))
    known = Usage(answer.began, 50, 0, 0)
    [unchanged] = await ledger.asked(entry(known=known))
    [taken] = await ledger.asked(entry("other", known=known))
    assert (unchanged.current, taken.current) == (3, 50)


@needs_redis
async def test_what_was_owed_before_a_reset_does_not_count_after_it(ledger: Ledger) -> None:
    [before] = await ledger.asked(entry(charge=30))
    [reset] = await ledger.asked(entry(reset=True, charge=2, known=before.usage))
    [after] = await ledger.asked(entry(charge=9, known=before.usage), node="b")
    assert (reset.current, reset.generation, after.current) == (2, before.generation + 1, 2)


@needs_redis
async def test_what_is_given_back_goes_to_the_window_that_it_was_leased_in(ledger: Ledger) -> None:
    [answer] = await ledger.asked(entry(charge=30, length=MINUTE))
    began = answer.began - MINUTE
    [rolled] = await ledger.asked(entry("old", known=Usage(began, 30, 0, 0), charge=-10))
    assert (rolled.current, rolled.previous) == (0, 20)


class Says:
    """Answers with the same, whatever it is asked."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def __call__(self, keys: Sequence[str], args: Sequence[bytes]) -> Any:
        return self._answer


@pytest.mark.parametrize(
    "answer",
    [None, 7, b"", b"OK", "text", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode([1, 2, 1, [], [["a"]]])],
)
async def test_what_is_no_answer_is_an_error(answer: object) -> None:
    with pytest.raises(LedgerError, match="the answer is not the ledger's"):
        await exchange(Says(answer), "t", Batch("a", 1, 0, []))


async def test_each_question_needs_its_answer() -> None:
    with pytest.raises(LedgerError, match="0 answers came to 1 questions"):
        await exchange(Says(msgspec.msgpack.encode([1, 2, 1, [], []])), "t", Batch("a", 1, 0, [entry()]))
