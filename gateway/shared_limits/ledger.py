"""What a node sends to the ledger in Redis, and what it hears from it.

The ledger is a script (``ledger.lua``) that Redis runs as one step: for each rate it counts what the node owes, and
leases to it what it asks for, if that is left. A whole batch of rates is one argument and one result, in MessagePack,
because a client in Python takes microseconds for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

SCRIPT = Path(__file__).with_name("ledger.lua").read_text()

NANOSECONDS_PER_MICROSECOND = 1000
"""Redis has microseconds, and counts with doubles, which hold nanoseconds since 1970 no more."""


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """What is used of one rate by all nodes; what is leased counts as used."""

    began: int
    """When its window began, in microseconds of Redis' clock."""
    current: int
    previous: int
    generation: int
    """How often it was reset. What was leased, or is owed, from before a reset does not count any more."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What a node says of one rate, and asks for."""

    name: str
    limit: int
    length: int
    """Of the window, in microseconds."""
    charge: int
    """What was used beyond what was leased; below zero, what is given back of a lease."""
    late: int
    """By how much to correct the window before the current one."""
    want: int
    """How much the node would like to be leased."""
    need: int
    """Less than this is of no use to it."""
    reset: bool
    known: Usage | tuple[()]
    """What the node heard last: from this a Redis that has forgotten everything is told again."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What is used of one rate, and how much of it was leased."""

    began: int
    current: int
    previous: int
    generation: int
    leased: int
    hungry_ago: int
    """Microseconds since a node asked for more than was left."""

    @property
    def usage(self) -> Usage:
        """What is used, to be remembered."""
        return Usage(self.began, self.current, self.previous, self.generation)


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What a node sends at once. It is sent again, with its number, until an answer was heard, and counts once."""

    node: str
    number: int
    heard: int
    """Up to when it has heard what has changed, in microseconds of Redis' clock."""
    entries: Sequence[Entry]


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """The answers to a batch, in its order, and what has changed elsewhere."""

    now: int
    heard: int
    nodes: int
    """How many nodes share limits, this one included."""
    answers: list[Answer]
    news: list[tuple[str, Answer]]


class Script(Protocol):
    """A script that Redis knows, as ``redis.asyncio`` has it."""

    async def __call__(self, keys: Sequence[str], args: Sequence[bytes]) -> Any:
        """Run it."""


class LedgerError(Exception):
    """Redis has answered something that the ledger does not say."""


async def exchange(script: Script, prefix: str, batch: Batch) -> Reply:
    """Send a batch and return the reply. Raises ``LedgerError``, and what the client of Redis raises."""
    # In a Redis Cluster all keys of the braces' content are on one server.
    said = await script(keys=[f"{{{prefix}}}"], args=[msgspec.msgpack.encode(batch)])
    try:
        reply = msgspec.msgpack.decode(said, type=Reply)
    except (TypeError, msgspec.MsgspecError) as error:
        raise LedgerError(f"the answer is not the ledger's ({error})") from None
    if len(reply.answers) != len(batch.entries):
        raise LedgerError(f"{len(reply.answers)} answers came to {len(batch.entries)} questions")
    return reply
