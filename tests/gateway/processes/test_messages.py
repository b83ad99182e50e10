"""Messages arrive whole and in order, however the socket cuts them."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import pytest

from gateway.observe.counters import Counters
from gateway.pools.build import PoolLayout
from gateway.pools.replica import ReplicaState
from gateway.processes.messages import (
    Channel,
    Count,
    Counted,
    End,
    LengthUpdate,
    Message,
    PoolUpdate,
    ReplicaRecovered,
    ReplicaSuspected,
    ReplicaUpdate,
    Served,
    Setup,
    encode,
)

MESSAGES: list[Message] = [
    Setup(
        own=1,
        serves=Served(
            config=b"{}",
            pools={"m": PoolLayout("m", (("m-0", "unix:/s", ""),))},
            replicas=[ReplicaUpdate("m-0", state=ReplicaState.READY, reason="")],
            lengths=[LengthUpdate("m", None)],
        ),
        listen="127.0.0.1:1",
        version="1",
        cells=3,
        rows=["a", "b"],
        receiver=4,
        senders=[5, 6],
    ),
    PoolUpdate(PoolLayout("m", ())),
    ReplicaUpdate("m-0", ReplicaState.READY, "", ["sql"], 2.5, 4096),
    Count(),
    ReplicaSuspected("m-0", "failures", "No answer, ä."),
    ReplicaRecovered("m-0"),
    End(),
]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_messages_come_whole_and_in_order(size: int) -> None:
    heard: list[Message] = []
    channel = Channel(heard.append, lambda: None)
    data = b"".join(map(encode, MESSAGES))
    for at in range(0, len(data), size):
        channel.data_received(data[at : at + size])
    assert heard == MESSAGES


def test_what_was_counted_survives_the_way() -> None:
    metrics = Counters()
    metrics.lagged(0.5)
    metrics.of("m").attempts["ok"]["m-0"] += 1
    heard: list[Message] = []
    Channel(heard.append, lambda: None).data_received(encode(Counted(metrics.snapshot())))
    (counted,) = cast(list[Counted], heard)
    assert counted.snapshot == metrics.snapshot()


async def test_the_end_of_the_other_side_is_noticed_and_sending_to_it_is_harmless() -> None:
    ours, theirs = socket.socketpair()
    gone = asyncio.Event()
    _, channel = await asyncio.get_running_loop().create_connection(
        lambda: Channel(lambda _: None, gone.set), sock=ours
    )
    channel.send(Count())
    assert theirs.recv(1000) == encode(Count())
    theirs.close()
    await asyncio.wait_for(gone.wait(), 10)
    channel.send(Count())
    channel.close()
