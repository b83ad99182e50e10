"""The messages between a parent and its children, each behind its length, on a stream socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec

from gateway.observe.counters import Snapshot
from gateway.pools.build import PoolLayout
from gateway.pools.ejection import Finding
from gateway.pools.replica import ReplicaState

_LENGTH_BYTES = 4


class RowsMade(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: the names of rows of the shared memory that were made now, in their order."""

    names: list[str]


class PoolUpdate(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: which replicas a pool has."""

    pool: PoolLayout


class ReplicaUpdate(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: the state of a replica, the LoRA adapters that it has loaded, and what its engine has told.

    ``foreign`` is how many requests others have there, ``cache_tokens`` how many tokens its cache has room for.
    """

    replica: str
    state: ReplicaState
    reason: str
    adapters: list[str] = []
    foreign: float = 0.0
    cache_tokens: int = 0


class LengthUpdate(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: how many tokens a request for a model may have."""

    model: str
    max_model_len: int | None


class Served(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: what it serves from now on.

    ``config`` is the checked configuration as JSON; ``pools`` are its pools by the first of their models, with the
    states of their ``replicas`` and the ``lengths`` of their models.
    """

    config: bytes
    pools: dict[str, PoolLayout]
    replicas: list[ReplicaUpdate]
    lengths: list[LengthUpdate]


class Setup(msgspec.Struct, frozen=True, tag=True):
    """Parent to child, first of all: which of the processes it is, and what it serves.

    ``listen`` is the address with its real port. ``cells``, ``receiver`` and ``senders`` are inherited descriptors: the
    shared memory, whose ``rows`` have these names, the socket at which this process receives datagrams, and those
    through which it sends to each.
    """

    own: int
    serves: Served
    listen: str
    version: str
    cells: int
    rows: list[str]
    receiver: int
    senders: list[int]


class Confirm(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: say ``Confirmed`` with this number, when everything that was sent before holds."""

    number: int


class AnnounceEnd(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: ask clients to close their connections."""


class StopAccepting(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: take nothing new, and send ``Idle`` when no request is under way."""


class CancelAll(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: end what is still under way."""


class End(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: count a last time, and end."""


class Count(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: send what was counted so far."""


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Parent to child: ask yourself for a path as a client would, and send what is answered with this number."""

    number: int
    path: str
    body: bytes


class Answered(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: the response to the question of this number."""

    number: int
    status: int
    body: bytes


class Serving(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: it listens."""


class NotStarted(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: it cannot serve, and why."""

    reason: str


class ReplicaSuspected(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: requests have found a replica failing, so it may have to be ejected."""

    replica: str
    cause: Finding
    reason: str


class ReplicaRecovered(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: the request has succeeded with which an ejected replica was tried."""

    replica: str


class Confirmed(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: everything that was sent before ``Confirm`` with this number holds."""

    number: int


class Counted(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: everything counted since it started."""

    snapshot: Snapshot


class Idle(msgspec.Struct, frozen=True, tag=True):
    """Child to parent: after ``StopAccepting``, no request is under way any more."""


Message = (
    RowsMade
    | PoolUpdate
    | ReplicaUpdate
    | LengthUpdate
    | Served
    | Setup
    | Confirm
    | AnnounceEnd
    | StopAccepting
    | CancelAll
    | End
    | Count
    | Ask
    | Answered
    | Serving
    | NotStarted
    | ReplicaSuspected
    | ReplicaRecovered
    | Confirmed
    | Counted
    | Idle
)

_DECODER = msgspec.msgpack.Decoder(Message)
_ENCODER = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """Write a message as it goes over the socket."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Channel(asyncio.Protocol):
    """One end of the socket. ``received`` is called with each message, ``closed`` when the other end is gone."""

    _transport: asyncio.Transport

    def __init__(self, received: Callable[[Message], None], closed: Callable[[], None]) -> None:
        self._received = received
        self._closed = closed
        self._rest = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand on every message that is whole."""
        rest = self._rest
        rest += data
        while len(rest) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(rest[:_LENGTH_BYTES], "big")
            if len(rest) < end:
                return
            message = _DECODER.decode(rest[_LENGTH_BYTES:end])
            del rest[:end]
            self._received(message)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Report that the other end is gone."""
        self._closed()

    def send(self, message: Message) -> None:
        """Send a message; harmless when the other end is gone."""
        self.send_encoded(encode(message))

    def send_encoded(self, data: bytes) -> None:
        """Send what ``encode`` wrote."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close this end, after what was sent."""
        self._transport.close()
