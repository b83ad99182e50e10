"""A small HTTP server that answers what the examples ask of a gateway: files, jobs that succeed at once, labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

EVENTS = ("Created fine-tuning job", "Step 1/1: training loss=0.5", "The job has successfully completed")


@dataclass
class FakeGateway:
    """What it serves, and what it was asked; ``failures`` are statuses that it answers to ``/classify`` first."""

    label: Callable[[str, str], str] = lambda model, text: "good"
    probability: float = 0.9
    models: list[str] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    ends: str = "succeeded"
    failures: list[int] = field(default_factory=list)
    uploads: list[bytes] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    classified: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""

    def get(self, path: str) -> tuple[int, Any]:
        """Answer a GET."""
        if path == "/v1/models":
            return 200, page([{"id": name, "object": "model", "created": 0, "owned_by": "x"} for name in self.models])
        if path == "/v1/fine_tuning/jobs":
            return 200, page(self.jobs)
        if path.endswith("/events"):
            return 200, page([event(number, text) for number, text in reversed(list(enumerate(EVENTS)))])
        job = next(each for each in self.jobs if path.endswith(each["id"]))
        job["status"] = self.ends
        if self.ends == "succeeded":
            job["fine_tuned_model"] = f"ft:minilm:headgate:{job['suffix']}:1"
            self.models.append(job["fine_tuned_model"])
        else:
            job["error"] = {"code": "no_memory", "message": "There was no memory.", "param": None}
        return 200, job

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Answer a POST."""
        if path == "/v1/files":
            self.uploads.append(body)
            return 200, {
                "id": f"file-{len(self.uploads)}",
                "object": "file",
                "bytes": 1,
                "created_at": 0,
                "filename": "a",
            }
        if path == "/v1/fine_tuning/jobs":
            self.orders.append(json.loads(body))
            self.jobs.append(job(self.orders[-1]["suffix"]))
            return 200, self.jobs[-1]
        if self.failures:
            return self.failures.pop(0), {"error": {"message": "not now", "type": "server_error"}}
        asked = json.loads(body)
        self.classified.append(asked)
        rest = (1 - self.probability) / 2
        labels = [self.label(asked["model"], text) for text in asked["input"]]
        return 200, {"data": [{"label": label, "probs": [self.probability, rest, rest]} for label in labels]}


def page(data: list[Any]) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": False}


def job(suffix: str) -> dict[str, Any]:
    """Write a job that is running."""
    return {
        "id": f"ftjob-{suffix}",
        "object": "fine_tuning.job",
        "status": "running",
        "suffix": suffix,
        "model": "minilm",
    }


def event(number: int, message: str) -> dict[str, Any]:
    kind = "metrics" if message.startswith("Step") else "message"
    return {"id": f"e{number}", "object": "fine_tuning.job.event", "level": "info", "message": message, "type": kind}


@contextmanager
def fake_gateway(given: FakeGateway | None = None) -> Iterator[FakeGateway]:
    """Serve on loopback until the block ends."""
    gateway = given or FakeGateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(*gateway.get(self.path.partition("?")[0]))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.answer(*gateway.post(self.path, body))

        def answer(self, status: int, value: Any) -> None:
            gateway.keys.add(self.headers["authorization"])
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gateway.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
