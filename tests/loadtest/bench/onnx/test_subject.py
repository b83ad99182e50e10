"""A subject makes the requests of its task."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from loadtest.bench.onnx.subject import Subject


@pytest.mark.parametrize(("task", "path"), [("embed", "/v1/embeddings"), ("classify", "/classify")])
def test_requests_go_to_the_endpoint_of_the_task(task: str, path: str, subject_of: Callable[[str], Subject]) -> None:
    request = subject_of(task).request(["good cat"])
    assert request.path == path
    assert msgspec.json.decode(request.body) == {"model": "model", "input": "good cat", "truncate_prompt_tokens": -1}


def test_a_request_may_have_several_texts(subject: Subject) -> None:
    single, many = subject.requests(count=10), subject.requests(4, count=10)
    assert (len(single), len(many)) == (10, 2)
    assert isinstance(msgspec.json.decode(single[0].body)["input"], str)
    assert all(len(msgspec.json.decode(each.body)["input"]) == 4 for each in many)


def test_tokens_are_those_that_the_engine_sees(subject: Subject) -> None:
    assert [len(each) for each in subject.tokens] == [4, 5, 3, 11]
