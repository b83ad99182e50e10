"""Every path has its response, and what goes wrong has vLLM's."""

import pytest

from loadtest.simulator.engine_response import ResponseContext, UnaryResponse
from loadtest.simulator.faults import NO_FAULTS
from loadtest.simulator.routes import POST_ROUTES, answer_post, refusal


def asked(path: str, body: bytes = b"{}") -> ResponseContext:
    return ResponseContext(
        path=path, body=body, content_type="", model="sim", id="r", max_model_len=8192, faults=NO_FAULTS, created=0
    )


@pytest.mark.parametrize("path", sorted(set(POST_ROUTES) - {"/detokenize"}))
def test_an_empty_object_is_never_enough(path: str) -> None:
    answer = answer_post(asked(path))
    assert isinstance(answer, UnaryResponse)
    assert answer.status == 400
    assert b'"type":"Bad Request"' in answer.body


def test_an_unknown_path_is_not_found() -> None:
    assert answer_post(asked("/v1/none")) == refusal(404)


def test_a_refusal_has_the_words_of_the_web_framework() -> None:
    assert refusal(405) == UnaryResponse(b'{"detail":"Method Not Allowed"}', status=405)


def test_what_can_be_got_cannot_be_posted_to() -> None:
    assert answer_post(asked("/health")) == refusal(405)
