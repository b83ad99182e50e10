"""Requests are made beforehand, reproducibly, and in the shapes of OpenAI's and vLLM's endpoints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loadtest import workload
from loadtest.workload import WORKLOADS, Request


def test_a_text_has_the_words_it_was_asked_for_and_a_longer_one_begins_like_it() -> None:
    short, long = workload.text(10, 1), workload.text(50, 1)
    assert (len(short.split()), len(long.split())) == (10, 50)
    assert long.startswith(short)
    assert workload.text(10, 2) != short


@pytest.mark.parametrize(
    ("name", "path", "asked"),
    [
        ("chat", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 7}),
        ("completions", "/v1/completions", {"prompt": "hi", "max_tokens": 7}),
    ],
)
def test_completions_are_asked_for_with_an_exact_length(name: str, path: str, asked: dict[str, Any]) -> None:
    whole, streamed = (WORKLOADS[name]("m", "hi", 7, stream=stream) for stream in (False, True))
    assert whole.path == streamed.path == path
    assert json.loads(whole.body) == {"model": "m", **asked, "ignore_eos": True, "temperature": 0.0}
    more = {"stream": True, "stream_options": {"include_usage": True}}
    assert json.loads(streamed.body) == json.loads(whole.body) | more


@pytest.mark.parametrize(("name", "path"), [("embeddings", "/v1/embeddings"), ("classify", "/classify")])
def test_small_models_are_asked_about_a_text(name: str, path: str) -> None:
    assert WORKLOADS[name]("m", "hi", 7, stream=True) == Request(path, b'{"model":"m","input":"hi"}')


def test_texts_may_be_joined() -> None:
    assert len(" ".join([workload.text(64, 1), workload.text(3, 2)]).split()) == 67


def test_a_share_of_the_clients_leaves_early() -> None:
    requests = workload.leaving([Request("/", b"")] * 1000, 0.2, seed=1, longest=3.0)
    patience = [request.leave_after for request in requests if request.leave_after is not None]
    assert len(patience) == pytest.approx(200, rel=0.2)
    assert 0 <= min(patience) < max(patience) <= 3.0
