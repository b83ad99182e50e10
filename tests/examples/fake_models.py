"""A gateway of three small models that can be foreseen, over HTTP: for tests of what is asked of it."""

from __future__ import annotations

import json
import threading
import zlib
from array import array
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_WIDTH = 1021


class FakeModels:
    """What the models know, and what they have been asked.

    ``labels`` gives the intent and probability of texts with a certain word; others get ``unknown``. A text's vector
    counts its words. The chat model says the first thing that it may say, in pieces of ``piece`` characters; with
    ``stream`` ``stalls`` or ``breaks`` it stops after the first piece. After ``allowed`` requests for
    vectors others are refused.
    """

    def __init__(self) -> None:
        self.labels: dict[str, tuple[str, float]] = {}
        self.models = ["minilm", "smollm2-135m"]
        self.stream = "whole"
        self.piece = 7
        self.allowed = 1_000_000
        self.jobs: list[dict[str, Any]] = []
        self.job_ends = "succeeded"
        self.uploaded: list[bytes] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.keys: set[str] = set()
        self.url = ""
        self.stopped = threading.Event()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """Return what was asked at a path."""
        return [body for asked, body in self.asked if asked == path]

    def classified(self, texts: Sequence[str]) -> dict[str, Any]:
        found = [next((self.labels[word] for word in words(text) if word in self.labels), None) for text in texts]
        return {"data": [{"label": each[0], "probs": [each[1], 0.0]} if each else _UNSURE for each in found]}

    def embedded(self, texts: Sequence[str]) -> dict[str, Any]:
        return {"object": "list", "model": "m", "data": [{"embedding": in_base64(vector(text))} for text in texts]}

    def job(self) -> dict[str, Any]:
        """Show a job: it is running when it is made, and has ended when it is looked at again."""
        made: dict[str, Any] = {
            "id": "ftjob-1",
            "object": "fine_tuning.job",
            "status": "running",
            "fine_tuned_model": None,
        }
        made["error"] = None
        if self.bodies("/v1/fine_tuning/jobs/ftjob-1"):
            name = "ft:minilm:headgate:banking77:1"
            made["status"] = self.job_ends
            made["fine_tuned_model"] = name if self.job_ends == "succeeded" else None
            made["error"] = None if self.job_ends == "succeeded" else {"message": "The loss is nan.", "code": "x"}
        return made


_EVENT = {"id": "e1", "object": "fine_tuning.job.event", "message": "The probe is right in 90%", "type": "message"}
_UNSURE = {"label": "unknown", "probs": [0.1, 0.0]}


def words(text: str) -> list[str]:
    """Return a text's words in lower case, without marks."""
    return [word.strip(".,?!").lower() for word in text.split()]


def vector(text: str) -> list[float]:
    """Return a vector of length 1 that counts the words of a text."""
    counts = [0.0] * _WIDTH
    for word in words(text):
        counts[zlib.crc32(word.encode()) % _WIDTH] += 1.0
    length = sum(count * count for count in counts) ** 0.5
    return [count / length for count in counts]


def in_base64(numbers: Sequence[float]) -> str:
    """Write a vector as the SDK asks for it, which reads it so a hundred times faster than from a list."""
    return b64encode(array("f", numbers)).decode()


class _Handler(BaseHTTPRequestHandler):
    models: FakeModels
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Write no log."""

    def do_GET(self) -> None:
        self.models.keys.add(self.headers["authorization"])
        self.models.asked.append((self.path.partition("?")[0], {}))
        if self.path == "/v1/models":
            self._answer({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models.models]})
        elif self.path.partition("?")[0].endswith("/events"):
            self._answer({"object": "list", "data": [_EVENT], "has_more": False})
        elif self.path.startswith("/v1/fine_tuning/jobs/"):
            self._answer(self.models.job())
        else:
            self._answer({"object": "list", "data": self.models.jobs, "has_more": False})

    def do_POST(self) -> None:
        self.models.keys.add(self.headers["authorization"])
        content = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/files":
            self.models.uploaded.append(content)
            self._answer({"id": f"file-{len(self.models.uploaded)}", "object": "file"})
            return
        body = json.loads(content)
        self.models.asked.append((self.path, body))
        if self.path == "/classify":
            self._answer(self.models.classified(body["input"]))
        elif self.path == "/v1/embeddings":
            if len(self.models.bodies("/v1/embeddings")) > self.models.allowed:
                self._answer({"error": {"message": "no vectors today", "code": "x"}}, 400)
            else:
                self._answer(self.models.embedded(body["input"]))
        elif self.path == "/v1/fine_tuning/jobs":
            self._answer(self.models.job())
        else:
            self._stream(body["structured_outputs"]["choice"][0])

    def _answer(self, content: Any, status: int = 200) -> None:
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def _stream(self, text: str) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for start in range(0, len(text), self.models.piece):
            delta = {"content": text[start : start + self.models.piece]}
            self._chunk(json.dumps({"id": "1", "choices": [{"index": 0, "delta": delta}]}))
            if self.models.stream == "stalls":
                self.models.stopped.wait()
            if self.models.stream != "whole":
                return
        self._chunk("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, event: str) -> None:
        data = f"data: {event}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


@contextmanager
def serving_fakes() -> Iterator[FakeModels]:
    """Serve on a port of the loopback until the block ends."""
    models = FakeModels()

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"models": models}))
    server.daemon_threads = True
    models.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield models
    finally:
        models.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
