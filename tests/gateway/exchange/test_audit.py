"""A count that differs from what requests hold is found at the second look, named, counted and corrected."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.exchange.audit import Audit
from tests.kit.playbook import Playbook, post
from tests.kit.scripted import whole

GOOD = whole(b'{"ok":1}')


class Books:
    """Two replicas with two requests, of which each may have ten tokens, and three that wait."""

    def __init__(self, *, max_tokens: int | None = None) -> None:
        self.play = Playbook(engines=2, limit=2, max_tokens=max_tokens)
        self.clients = [self.play.new_client() for _ in range(5)]
        for client in self.clients:
            client.sends(post(max_tokens=10))
        self.audit = Audit(self.play.dispatcher.exchanges, self.play.metrics.lease_mismatches)

    def check(self) -> dict[str, int]:
        """Let the audit look, and return what it has found so far."""
        self.audit.check([self.play.pool])
        return {kind: number for kind, number in self.play.metrics.lease_mismatches.items() if number}

    async def ends_well(self) -> bool:
        """Let all requests be answered, and tell whether all of them were and nothing is held."""
        for _ in self.clients:
            for engine in self.play.engines:
                for line in engine.lines:
                    if line.got():
                        line.says(GOOD)
            await self.play.turn()
        answered = all(client.got().startswith(b"HTTP/1.1 200 ") for client in self.clients)
        return answered and set(self.play.held()) == {0}


def slots(books: Books) -> None:
    books.play.pool.admission.running += 1


def tokens(books: Books) -> None:
    books.play.pool.tokens_in_flight -= 7


def in_flight(books: Books) -> None:
    books.play.replicas[1].load.entered()


def shared_slots(books: Books) -> None:
    here = books.play.pool.admission._slots
    assert here is not None
    here.correct(1, here.here.tokens)


def slot_tokens(books: Books) -> None:
    here = books.play.pool.admission._slots
    assert here is not None
    here.correct(2, here.here.tokens + 5)


def shared_queue_places(books: Books) -> None:
    here = books.play.pool.admission._slots
    assert here is not None
    here.show_queue(9, 0, 0)


CORRUPTIONS: list[tuple[Callable[[Books], None], str, str]] = [
    (slots, "slots", "Pool m counts 3 slots where requests hold 2"),
    (tokens, "tokens_in_flight", "Pool m counts 13 tokens in flight where requests hold 20"),
    (in_flight, "in_flight", "Replica m-1 counts 2 in flight where requests hold 1"),
    (shared_slots, "shared_slots", "Pool m counts 1 shared slots where requests hold 2"),
    (shared_queue_places, "shared_queue_places", "Pool m counts 9 shared queue places where requests hold 3"),
]


@pytest.mark.parametrize(("corrupt", "kind", "line"), CORRUPTIONS, ids=[kind for _, kind, _ in CORRUPTIONS])
async def test_a_wrong_count_is_corrected_at_the_second_look(
    corrupt: Callable[[Books], None], kind: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    books = Books()
    corrupt(books)
    assert books.check() == {}
    assert books.check() == {kind: 1}
    assert [record.message for record in caplog.records] == [f"{line}; corrected. Please report this mistake."]
    assert (books.check(), books.check()) == ({kind: 1}, {kind: 1})
    assert await books.ends_well()


async def test_tokens_of_slots_are_compared_where_they_are_limited() -> None:
    books = Books(max_tokens=1000)
    slot_tokens(books)
    books.check()
    assert books.check() == {"slot_tokens": 1}
    assert await books.ends_well()


async def test_a_place_in_the_queue_that_was_lost_is_given_again() -> None:
    books = Books()
    queue = books.play.pool.admission._queue
    lost = next(iter(queue.waiters))
    queue.discard(lost)
    books.check()
    assert books.check() == {"queue_places": 1}
    assert await books.ends_well()


async def test_a_request_that_was_over_and_not_forgotten_is_forgotten() -> None:
    books = Books()
    over = next(iter(books.play.dispatcher.exchanges))
    over.release()
    books.play.dispatcher.exchanges.add(over)
    books.check()
    assert books.check() == {"requests": 1}
    assert over not in books.play.dispatcher.exchanges


async def test_what_differs_once_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    books = Books()
    slots(books)
    books.check()
    books.play.pool.admission.running -= 1
    tokens(books)
    books.check()
    books.play.pool.tokens_in_flight += 7
    assert books.check() == {}
    assert repr(books.audit) == "<Audit of 5 requests [0 differences seen once]>"
    assert caplog.records == []


async def test_it_looks_every_few_seconds() -> None:
    books = Books()
    slots(books)
    for now in (100.0, 104.9, 105.1):
        books.audit.tick(now, [books.play.pool])
    assert books.play.metrics.lease_mismatches["slots"] == 1
