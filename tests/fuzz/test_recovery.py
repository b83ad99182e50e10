"""A stream that is cut at any byte, once or twice, is for its client the stream that was not cut.

What an engine says is recorded from the simulator, which answers like a model without chance: a text that was begun
goes on with the next word. The engines in memory then say it up to the cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator import SimulatedEngine
from tests.fuzz.cases import cases
from tests.kit.playbook import CHAT, Playbook, post
from tests.kit.wire import Wire

COMPLETIONS = "/v1/completions"
TOKENS = 3
WHOLE = 1 << 20
"""A read that brings all there is."""
COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": 'Say "it".'}]},
    COMPLETIONS: {"prompt": "Say it:"},
}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_COMMENT = re.compile(rb"^: headgate recovered (\d)\n\n", re.MULTILINE)


class Recorder:
    """What the simulator answers to a request: its events, each of them once it was asked for."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._known: dict[bytes, list[bytes]] = {}

    @property
    def longest(self) -> int:
        """How many bytes the longest response has so far."""
        return max(len(framed(events)) for events in self._known.values())

    async def events(self, path: str, body: bytes) -> list[bytes]:
        """Return the events of a stream."""
        if body not in self._known:
            await self._wire.request("POST", path, json.loads(body), {"x-request-id": f"r{len(self._known)}"})
            said = (await self._wire.response()).body
            self._known[body] = [event + b"\n\n" for event in said.split(b"\n\n") if event]
        return self._known[body]


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    async with SimulatedEngine("m", port=0) as engine, await Wire.connect_to(engine.address) as wire:
        yield Recorder(wire)


@dataclass(frozen=True)
class Seen:
    """What a client makes of a stream."""

    text: str
    ids: frozenset[tuple[str, int, str]]
    roles: int
    finish: tuple[str, ...]
    usage: tuple[int, ...] | None
    complete: bool

    @classmethod
    def of(cls, got: bytes) -> Seen:
        """Read a whole response."""
        *events, last = [event for event in got.split(b"\n\n") if event and not event.startswith(b":")]
        chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
        assert not any("error" in chunk for chunk in chunks), got
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        usage = [tuple(chunk["usage"][name] for name in COUNTS) for chunk in chunks if chunk.get("usage")]
        return cls(
            "".join(choice["text"] if "text" in choice else choice["delta"].get("content") or "" for choice in choices),
            frozenset((chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks),
            sum("role" in choice.get("delta", {}) for choice in choices),
            tuple(choice["finish_reason"] for choice in choices if choice["finish_reason"]),
            usage[-1] if usage else None,
            last == b"data: [DONE]",
        )

    def but_for_ids(self) -> Seen:
        """Leave out what names the answer."""
        return replace(self, ids=frozenset())


def framed(events: list[bytes]) -> bytes:
    return HEAD + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"


def unframed(response: bytes) -> bytes:
    """Return the body of a chunked response, which must be whole."""
    rest, body = response.partition(b"\r\n\r\n")[2], b""
    while not rest.startswith(b"0\r\n"):
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    assert rest == b"0\r\n\r\n"
    return body


async def relayed(recorded: Recorder, path: str, fields: dict[str, Any], cuts: tuple[int, ...], reads: int) -> bytes:
    """Return what the client gets where one engine after the other is cut after so many bytes of its response."""
    play = Playbook(engines=len(cuts) + 1, recovery=True)
    play.client.sends(post(path, **fields))
    for cut in (*cuts, None):
        asked = len(play.asked)
        engine = play.last_asked
        said = framed(await recorded.events(path, engine.line.got().partition(b"\r\n\r\n")[2]))[:cut]
        engine.says(*[said[at : at + reads] for at in range(0, len(said), reads)])
        if cut is not None:
            # One is reset, the next closes: two that die alike are no longer asked.
            engine.line.closes(OSError("reset") if asked % 2 else None)
        await play.turn()
        if len(play.asked) == asked:
            break
    assert set(play.held()) == {0}
    return unframed(play.client.got())


USAGE = (None, {"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True})


def asked(path: str, usage: dict[str, bool] | None) -> dict[str, Any]:
    fields = ASKED[path] | {"stream": True, "max_tokens": TOKENS}
    return fields if usage is None else fields | {"stream_options": usage}


@pytest.mark.parametrize(
    "usage", [pytest.param(each, marks=[pytest.mark.slow] if each != USAGE[1] else []) for each in USAGE]
)
@pytest.mark.parametrize("path", ASKED)
async def test_a_stream_that_is_cut_at_any_byte_is_what_it_would_have_been(
    path: str, usage: dict[str, bool] | None
) -> None:
    async with recorder() as recorded:
        unbroken = await relayed(recorded, path, asked(path, usage), (), WHOLE)
        expected = Seen.of(unbroken)
        assert (expected.text, expected.complete) == (" t0 t1 t2", True)
        assert (expected.usage is not None) is (usage is not None)
        recovered = 0
        for cut in range(len(HEAD), recorded.longest):
            got = await relayed(recorded, path, asked(path, usage), (cut,), (WHOLE, 7, 100)[cut % 3])
            recovered += _COMMENT.search(got) is not None
            # Where nothing had come, and so nothing is said to be recovered, the ids are the other replica's.
            assert Seen.of(got).but_for_ids() == expected.but_for_ids(), (cut, got)
            assert len(Seen.of(got).ids) == 1, (cut, got)
        # All but the first event, and what stands behind the end marker.
        assert recovered > recorded.longest // 2


@cases(0.02)
@given(
    path=st.sampled_from(sorted(ASKED)),
    usage=st.sampled_from(USAGE),
    cuts=st.tuples(st.integers(len(HEAD), 2000), st.integers(len(HEAD), 2000)),
    reads=st.sampled_from((1, 50, 300, WHOLE)),
)
async def test_a_stream_that_is_cut_twice_is_so_too(
    path: str, usage: dict[str, bool] | None, cuts: tuple[int, int], reads: int
) -> None:
    async with recorder() as recorded:
        expected = Seen.of(await relayed(recorded, path, asked(path, usage), (), WHOLE))
        got = await relayed(recorded, path, asked(path, usage), cuts, reads)
        assert Seen.of(got).but_for_ids() == expected.but_for_ids(), got
        assert len(Seen.of(got).ids) == 1, got
