"""The dialect of OpenAI's completions: what has to be asked for, what is metered, and which streams are recorded."""

from __future__ import annotations

from gateway.api.dialects.completions import Completions, Plain
from gateway.core.context import RequestContext, RequestHead
from gateway.core.errors import UpstreamFailed


def test_only_completions_need_to_be_asked_for_usage() -> None:
    assert Completions().asks_usage
    assert not Plain().asks_usage


def test_only_streams_of_completions_can_be_continued() -> None:
    assert Completions().recorded is not None
    assert Plain().recorded is None


def test_a_whole_answer_is_metered() -> None:
    context = RequestContext(RequestHead("-"))
    Completions().meter(context, b'{"usage":{"prompt_tokens":1,"completion_tokens":2}}')
    assert (context.input_tokens, context.output_tokens) == (1, 2)
    assert Completions().error_body(UpstreamFailed("gone")).startswith(b'{"error":{"message":"gone"')
