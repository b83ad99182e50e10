"""A body between the parser and its reader: bounded, paused and resumed, whole or cut."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.context import BodyLimit
from gateway.core.errors import BodyTooLarge, RequestTimeout
from gateway.http.body_stream import HIGH_WATER, BodyStream
from tests.kit.playbook import Clock

LIMIT = BodyLimit(10 * HIGH_WATER, "files.max_file_bytes")


class Flow:
    """A connection that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def request_body(self) -> None:
        self.told.append("request")

    def pause_body(self) -> None:
        self.told.append("pause")

    def resume_body(self) -> None:
        self.told.append("resume")


async def test_a_reader_gets_all_that_there_is_and_then_the_end() -> None:
    stream = BodyStream(LIMIT, Flow())
    stream.feed(b"a")
    stream.feed(b"b")
    assert repr(stream) == "<BodyStream [arriving; 2 bytes, 2 waiting]>"
    assert await stream.read() == b"ab"
    stream.feed(b"c")
    stream.end()
    assert [await stream.read() for _ in range(3)] == [b"c", b"", b""]
    assert repr(stream) == "<BodyStream [whole; 3 bytes, 0 waiting]>"


async def test_a_reader_waits_for_what_has_not_come() -> None:
    stream = BodyStream(LIMIT, Flow())
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    stream.feed(b"late")
    assert await reading == b"late"


async def test_the_client_is_paused_while_more_waits_than_may_and_until_it_is_taken() -> None:
    flow = Flow()
    stream = BodyStream(LIMIT, flow)
    stream.feed(bytes(HIGH_WATER))
    assert flow.told == []
    stream.feed(b"x")
    stream.feed(b"y")
    assert flow.told == ["pause"]
    assert len(await stream.read()) == HIGH_WATER + 2
    assert flow.told == ["pause", "resume"]


async def test_the_end_lets_the_client_be_read_again_for_what_follows() -> None:
    flow = Flow()
    stream = BodyStream(LIMIT, flow)
    stream.feed(bytes(HIGH_WATER + 1))
    stream.end()
    assert flow.told == ["pause", "resume"]
    assert len(await stream.read()) == HIGH_WATER + 1


async def test_a_body_that_is_held_back_is_asked_for_by_its_first_read() -> None:
    flow = Flow()
    stream = BodyStream(LIMIT, flow, expected=True)
    await stream.discard()
    assert flow.told == []
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    assert flow.told == ["request"]
    stream.feed(b"here")
    assert await reading == b"here"


async def test_a_body_that_comes_without_being_asked_for_is_taken() -> None:
    flow = Flow()
    stream = BodyStream(LIMIT, flow, expected=True)
    stream.feed(b"here")
    assert await stream.read() == b"here"
    assert flow.told == []


async def test_a_body_that_is_cut_ends_with_its_error() -> None:
    stream = BodyStream(LIMIT, Flow())
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    stream.fail(RequestTimeout("Too late."))
    with pytest.raises(RequestTimeout, match="Too late"):
        await reading
    with pytest.raises(RequestTimeout):
        await stream.read()
    await stream.discard()


async def test_a_body_over_its_limit_is_refused_with_the_name_of_the_limit() -> None:
    stream = BodyStream(BodyLimit(3, "files.max_file_bytes"), Flow())
    stream.feed(b"abc")
    with pytest.raises(BodyTooLarge, match=r"over 3 bytes \(files.max_file_bytes\)"):
        stream.feed(b"d")


async def test_what_still_comes_can_be_thrown_away() -> None:
    stream = BodyStream(LIMIT, Flow())
    stream.feed(b"a")
    discarding = asyncio.create_task(stream.discard())
    await asyncio.sleep(0)
    stream.feed(b"b")
    stream.end()
    await discarding
    assert await stream.read() == b""


async def test_only_a_client_that_could_send_is_called_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock.install(monkeypatch)
    held_back, stream = BodyStream(LIMIT, Flow(), expected=True), BodyStream(LIMIT, Flow())
    stream.feed(b"a")
    clock.now += 5
    assert held_back.silent_for(clock()) == 0
    assert stream.silent_for(clock()) == 5
    stream.feed(bytes(HIGH_WATER))
    clock.now += 7
    assert stream.silent_for(clock()) == 0
    await stream.read()
    clock.now += 2
    assert stream.silent_for(clock()) == 2
