"""Processes wake each other and hand connections over, and never wait for one that does not listen."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from gateway.processes.neighbours import Neighbours, ears_and_mouths, unheard


@pytest.fixture
def two() -> Iterator[tuple[Neighbours, Neighbours]]:
    ears, mouths = ears_and_mouths(2)
    yield Neighbours(ears[0], mouths), Neighbours(ears[1], mouths)
    for each in (*ears, *mouths):
        each.close()


async def test_a_word_wakes_the_one_it_is_for(two: tuple[Neighbours, Neighbours]) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    two[1].listen(heard.put_nowait, lambda _: None)
    two[0].wake(1, "a/model")
    assert await asyncio.wait_for(heard.get(), 10) == "a/model"
    two[1].close()


async def test_a_connection_that_is_handed_over_is_the_same_connection(two: tuple[Neighbours, Neighbours]) -> None:
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
    ears, mouths = ears_and_mouths(1)
    speaker = Neighbours(ears[0], mouths)
    client, accepted = socket.socketpair()
    with client, accepted:
        handed = 0
        while speaker.hand_over(0, accepted):
            handed += 1
        assert handed > 0
        speaker.wake(0, "m")
        accepted.close()
        unheard(ears[0])
        assert client.recv(10) == b""
    for each in (*ears, *mouths):
        each.close()


def test_reprs_tell_how_many_there_are(two: tuple[Neighbours, Neighbours]) -> None:
    assert repr(two[0]) == "<Neighbours [2 processes]>"
