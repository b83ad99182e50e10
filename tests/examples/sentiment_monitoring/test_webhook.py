from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from examples.sentiment_monitoring.webhook import TRIES, WAITING, Webhook

LONG = 60.0
"""Seconds; nothing waits for so long unless it is broken."""


class Receiver:
    """A webhook that answers what it is told, 200 after that; while ``hanging`` is not set, nothing at all."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[dict[str, object]] = []
        self.asked = Event()
        self.answers = Event()
        self.answers.set()
        self.url = ""


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            receiver.asked.set()
            receiver.answers.wait(LONG)
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()


def deliver(receiver: Receiver, *messages: dict[str, object]) -> list[str]:
    """Send messages, and wait for what becomes of them."""
    outcomes: list[str] = []
    webhook = Webhook(receiver.url, outcomes.append, first_pause=0.0)
    for message in messages:
        webhook.send(message)
    webhook.close(LONG)
    return outcomes


def test_messages_arrive_in_their_order() -> None:
    with receiving(Receiver()) as receiver:
        assert deliver(receiver, {"n": 1}, {"n": 2}) == ["delivered", "delivered"]
    assert receiver.got == [{"n": 1}, {"n": 2}]


def test_a_failure_is_tried_again() -> None:
    with receiving(Receiver(503, 429)) as receiver:
        assert deliver(receiver, {"n": 1}) == ["delivered"]
    assert receiver.got == [{"n": 1}] * 3


def test_what_is_not_delivered_after_all_tries_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with receiving(Receiver(*[500] * TRIES)) as receiver:
        assert deliver(receiver, {"n": 1}, {"n": 2}) == ["lost", "delivered"]
    assert f"not delivered to {receiver.url} (status 500): {{'n': 1}}" in capsys.readouterr().err


def test_a_refusal_is_not_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    with receiving(Receiver(404)) as receiver:
        assert deliver(receiver, {"n": 1}) == ["lost"]
    assert len(receiver.got) == 1
    assert "(status 404)" in capsys.readouterr().err


def test_a_webhook_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with receiving(Receiver()) as receiver:
        pass
    assert deliver(receiver, {"n": 1}) == ["lost"]
    assert "ConnectError" in capsys.readouterr().err


def test_a_webhook_that_hangs_holds_nothing_up_and_what_is_lost_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes: list[str] = []
    with receiving(Receiver()) as receiver:
        receiver.answers.clear()
        webhook = Webhook(receiver.url, outcomes.append)
        webhook.send({"n": 0})
        assert receiver.asked.wait(LONG)  # The first is under way, so that all others wait.
        for number in range(1, WAITING + 2):
            webhook.send({"n": number})
        assert outcomes == ["lost"]
        assert f"{WAITING} others wait): {{'n': {WAITING + 1}}}" in capsys.readouterr().err
        assert repr(webhook) == f"<Webhook {receiver.url}, {WAITING + 1} unfinished>"
        webhook.close(0.0)
        assert outcomes == ["lost"] * (WAITING + 2)
    assert capsys.readouterr().err.count("there was no more time") == WAITING + 1
