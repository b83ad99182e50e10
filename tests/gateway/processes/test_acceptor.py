"""A connection goes to the process that holds fewest, if that is worth the way, and never to one that is not there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from time import monotonic_ns
from typing import cast

import pytest

from gateway.processes.acceptor import Acceptor, ConnectionShare, bound
from gateway.processes.datagrams import Datagrams, socket_pairs
from gateway.processes.shared_cells import Cells

NAMES = ("tick", "held", "received", "to 0", "to 1", "to 2")


@pytest.fixture
def cells() -> Iterator[Cells]:
    made = Cells.create(NAMES, 3)
    ticks = made.row("tick")
    for own in range(3):
        ticks[own] = monotonic_ns()
    yield made
    made.close()


def share(cells: Cells, own: int) -> ConnectionShare:
    handed = [cells.row(f"to {each}") for each in range(3)]
    return ConnectionShare(cells.row("tick"), cells.row("held"), cells.row("received"), handed, own)


@pytest.mark.parametrize(
    ("held", "chosen"),
    [
        ([0, 0, 0], 0),
        ([1, 1, 0], 2),
        ([1, 0, 0], 1),
        ([16, 15, 20], 0),
        ([18, 15, 20], 1),
        ([1000, 990, 999], 0),
        ([1000, 900, 999], 1),
    ],
    ids=str,
)
def test_the_one_with_clearly_fewest_is_chosen(cells: Cells, held: list[int], chosen: int) -> None:
    for own, count in enumerate(held):
        share(cells, own).set_held(count)
    assert share(cells, 0).choose() == chosen


def test_what_is_on_its_way_counts_where_it_goes(cells: Cells) -> None:
    first, second = share(cells, 0), share(cells, 1)
    first.entered()
    first.handed(1)
    assert first.choose() == 2
    first.handed(2)
    assert first.choose() == 0
    second.received()
    second.entered()
    assert first.choose() == 0


@pytest.mark.parametrize("tick", [0, 1])
def test_one_that_does_not_beat_is_given_nothing(cells: Cells, tick: int) -> None:
    cells.row("tick")[1] = tick
    share(cells, 0).set_held(50)
    share(cells, 2).set_held(40)
    assert share(cells, 0).choose() == 2


async def test_sockets_that_are_shared_have_one_port_and_others_are_refused_it() -> None:
    first = await bound("127.0.0.1", 0, shared=True)
    port = first[0].getsockname()[1]
    second = await bound("127.0.0.1", port, shared=True)
    assert second[0].getsockname() == first[0].getsockname()
    first[0].listen()
    with pytest.raises(OSError, match="in use"):
        await bound("127.0.0.1", port, shared=False)
    for each in (*first, *second):
        each.close()


class Echo(asyncio.Protocol):
    """Says who it is when it is connected, and whether small writes go out at once."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writing = cast(asyncio.WriteTransport, transport)
        nodelay = writing.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writing.write(self.name + b" %d" % (nodelay != 0))
        writing.close()


async def test_a_connection_is_kept_or_handed_over_and_answers_without_delay(cells: Cells) -> None:
    receivers, senders = socket_pairs(3)
    datagrams = [Datagrams(receivers[own], senders) for own in range(2)]
    sockets = await bound("127.0.0.1", 0, shared=True)
    port = sockets[0].getsockname()[1]
    first = Acceptor(sockets, lambda: Echo(b"first"), None, share(cells, 0), datagrams[0])
    second = Acceptor([], lambda: Echo(b"second"), None, share(cells, 1), datagrams[1])
    datagrams[1].listen(lambda _: None, second.handed_over)
    first.open()
    share(cells, 2).set_held(9)
    answers = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers.append(await asyncio.wait_for(reader.read(), 10))
        writer.close()
    assert answers == [b"first 1", b"second 1"]
    assert [share(cells, own)._count(own) for own in range(2)] == [1, 1]
    first.tick(0)
    assert share(cells, 0)._count(0) == 0
    datagrams[1].close()
    first.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    for each in (*receivers, *senders):
        each.close()
