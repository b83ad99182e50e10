"""The clients of the chaos: they ask anything, leave at any time, and believe no answer that is not whole and right."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
from dataclasses import dataclass, field
from typing import Any

from loadtest.bench.faults.bodies import BODIES, STREAMS, body_for
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.connection import Connection, ReceivedRequest
from loadtest.simulator.exchange import Exchange
from loadtest.simulator.tokens import text
from tests.gateway.api.local.forms import BOUNDARY, form
from tests.kit.gateways import RunningGateway
from tests.kit.wire import Response, Wire

FILES = "/v1/files"
_OF_ONNX = {"/v1/moderations", "/v1/suggest"}
"""The simulator has none of these, as vLLM has none."""

PATHS = (*STREAMS, *STREAMS, *(path for path in BODIES if path not in _OF_ONNX), FILES)
"""What is asked, the generating endpoints thrice."""

CONTINUED = frozenset({"/v1/chat/completions", "/v1/completions"})
"""Those whose streams go on at another replica."""

_ENDS = re.compile(rb"data: \[DONE\]|event: (?:message_stop|error|response\.(?:completed|incomplete|failed))\b")
_VARYING = re.compile(rb'"(?:id|item_id|created|created_at|completed_at)": ?(?:"[^"]*"|[0-9.]+)')


@dataclass
class Tally:
    """What the clients saw, by request id, and what engines got after that."""

    statuses: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    """Requests whose client has begun to get a response that is not continued elsewhere."""
    sent_again: list[str] = field(default_factory=list)
    """Those of them that an engine got after that."""
    broken_streams: int = 0
    crashes: int = 0
    reloads: int = 0
    refused_reloads: int = 0

    def received(self, request_id: str | None, connection: Connection) -> None:
        """Note that an engine has got a request."""
        if request_id in self.begun and not was_closed(connection):
            self.sent_again.append(request_id)


def was_closed(connection: Connection) -> bool:
    """Tell whether the gateway has closed a connection: what it had sent before, an engine that is late reads then."""
    # The transport's own socket object cannot be read under uvloop; a duplicate names the same connection.
    with socket.socket(fileno=os.dup(connection.transport.get_extra_info("socket").fileno())) as same:
        try:
            return not same.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True


class WatchedEngine(SimulatedEngine):
    """A simulated engine whose requests are held against what clients have seen."""

    def __init__(self, tally: Tally, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tally = tally

    def received_request(self, connection: Connection, request: ReceivedRequest) -> Exchange:
        if request.method == "POST":
            self._tally.received(request.header("x-request-id"), connection)
        return super().received_request(connection, request)


class Client:
    """One client after the other's requests, over a connection that it keeps for as long as it can."""

    def __init__(self, running: RunningGateway, draw: random.Random, tally: Tally) -> None:
        self._running = running
        self._draw = draw
        self._tally = tally
        self._wire: Wire | None = None

    async def ask(self, request_id: str) -> None:
        """Ask one thing, and leave now and then within the request, before its answer, or in the middle of it."""
        wire = self._wire = self._wire or await self._running.wire()
        path, body, media, tokens = self._request()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\nx-request-id: {request_id}\r\n"
        request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        chance = self._draw.random()
        if chance < 0.02:
            self._tally.left.add(request_id)
            await wire.send(request[: self._draw.randrange(1, len(request))])
            await self._wait_a_little()
            await self._go(wire)
            return
        await wire.send(request)
        if chance < 0.15:
            self._tally.left.add(request_id)
            if self._draw.random() < 0.3:
                await wire.reader.read(1)
            else:
                await self._wait_a_little()
            await self._go(wire)
            return
        status = (await wire.head()).status
        is_stream = b'"stream":true' in body
        # An embedding may be asked of two replicas at a time, and a stream that breaks off goes on at another one.
        if path in STREAMS and not (is_stream and path in CONTINUED):
            self._tally.begun.add(request_id)
        answer = await wire.response()
        self._note(request_id, answer)
        if status == 200:
            check(path, answer, tokens)
        if answer.header("connection") == "close" or b"error" in answer.body or chance < 0.25:
            await self._go(wire)

    async def close(self) -> None:
        """Close the connection that was kept."""
        if self._wire is not None:
            await self._wire.close()

    def _request(self) -> tuple[str, bytes, str, int]:
        """Draw a path, a body, its media type, and how many tokens are to be generated."""
        draw = self._draw
        path, tokens = draw.choice(PATHS), draw.randrange(1, 8)
        if path == FILES:
            content = bytes(draw.randrange(1, 30_000))
            return path, form(content, purpose="user_data"), f"multipart/form-data; boundary={BOUNDARY.decode()}", 0
        chance = draw.random()
        fields: dict[str, object] = {"max_tokens": tokens, "max_output_tokens": tokens} if path in STREAMS else {}
        if path in STREAMS and draw.random() < 0.6:
            fields["stream"] = True
        body, media = body_for(path, "nobody" if 0.01 <= chance < 0.02 else "m", **fields)
        if chance < 0.01:
            body = b'{"model": "m"'
        return ("/nowhere" if 0.02 <= chance < 0.03 else path), body, media, tokens

    async def _wait_a_little(self) -> None:
        """Wait for nothing, or for a moment."""
        if self._draw.random() < 0.5:
            await asyncio.sleep(self._draw.random() * 0.02)

    async def _go(self, wire: Wire) -> None:
        """Close or reset the connection."""
        self._wire = None
        if self._draw.random() < 0.5:
            wire.abort()
        await wire.close()

    def _note(self, request_id: str, answer: Response) -> None:
        """Check that an answer is whole: a status with an error in JSON, or a stream that says how it ended."""
        assert answer.header("x-request-id") == request_id
        self._tally.statuses[request_id] = answer.status
        if answer.status >= 400:
            assert answer.json["error"]["message"]
        elif (answer.header("content-type") or "").startswith("text/event-stream"):
            assert any(_ENDS.search(event) for event in answer.events)
            self._tally.broken_streams += any(b'"error":{' in event for event in answer.events)
        else:
            assert answer.status == 200
            assert isinstance(answer.json, dict)


_EXPECTED: dict[str, bytes] = {}


def check(path: str, answer: Response, tokens: int) -> None:
    """Check that an answer says what it must: the text of a generation, or what all answers of its endpoint say."""
    if path in STREAMS:
        if b'"error":{' not in answer.body:
            said = said_by(path, answer)
            assert said == text(tokens), f"{path}: {said!r} is not {text(tokens)!r}"
    elif path != FILES:
        same = _VARYING.sub(b"", answer.body)
        assert same == _EXPECTED.setdefault(path, same), path


def said_by(path: str, answer: Response) -> str:
    """Return the text that a generating endpoint's answer says."""
    streamed = (answer.header("content-type") or "").startswith("text/event-stream")
    if not streamed:
        return _text_of(path, answer.json)
    data = [line[6:] for event in answer.events for line in event.splitlines() if line.startswith(b"data: {")]
    events = [json.loads(each) for each in data]
    if path == "/v1/responses":
        return "".join(each["delta"] for each in events if each["type"] == "response.output_text.delta")
    if path == "/v1/messages":
        return "".join(each["delta"]["text"] for each in events if each["type"] == "content_block_delta")
    choices = [choice for each in events for choice in each["choices"]]
    return "".join(each["text"] if "text" in each else each["delta"].get("content") or "" for each in choices)


def _text_of(path: str, body: Any) -> str:
    if path == "/v1/responses":
        return "".join(part["text"] for item in body["output"] for part in item["content"])
    if path == "/v1/messages":
        return "".join(part["text"] for part in body["content"])
    (choice,) = body["choices"]
    said = choice["text"] if "text" in choice else choice["message"]["content"]
    assert isinstance(said, str)
    return said
