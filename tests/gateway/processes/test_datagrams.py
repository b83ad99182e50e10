"""Processes wake each other and hand connections over, and never wait for one that does not listen."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from gateway.processes.datagrams import Datagrams, discard_pending, socket_pairs


@pytest.fixture
def two() -> Iterator[tuple[Datagrams, Datagrams]]:
    receivers, senders = socket_pairs(2)
    yield Datagrams(receivers[0], senders), Datagrams(receivers[1], senders)
    for each in (*receivers, *senders):
        each.close()


async def test_a_word_wakes_the_one_it_is_for(two: tuple[Datagrams, Datagrams]) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    two[1].listen(heard.put_nowait, lambda _: None)
    two[0].wake(1, "a/model")
    assert await asyncio.wait_for(heard.get(), 10) == "a/model"
    two[1].close()


async def test_a_connection_that_is_handed_over_is_the_same_connection(two: tuple[Datagrams, Datagrams]) -> None:
    given: asyncio.Queue[socket.socket] = asyncio.Queue()
    two[1].listen(lambda _: None, given.put_nowait)
    client, accepted = socket.socketpair()
    assert two[0].hand_over(1, accepted)
    accepted.close()
    with client, await asyncio.wait_for(given.get(), 10) as received:
        received.sendall(b"hello")
        assert client.recv(10) == b"hello"
    two[1].close()


def test_one_that_is_deaf_blocks_nobody_and_its_connections_are_closed_at_its_end() -> None:
    receivers, senders = socket_pairs(1)
    speaker = Datagrams(receivers[0], senders)
    client, accepted = socket.socketpair()
    with client, accepted:
        handed = 0
        while speaker.hand_over(0, accepted):
            handed += 1
        assert handed > 0
        speaker.wake(0, "m")
        accepted.close()
        discard_pending(receivers[0])
        assert client.recv(10) == b""
    for each in (*receivers, *senders):
        each.close()


def test_reprs_tell_how_many_there_are(two: tuple[Datagrams, Datagrams]) -> None:
    assert repr(two[0]) == "<Datagrams [2 processes]>"
