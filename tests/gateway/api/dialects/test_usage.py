"""Usage is found wherever a dialect puts it; a later report replaces an earlier one."""

from __future__ import annotations

import pytest

from gateway.api.dialects import usage
from gateway.core.context import RequestContext, RequestHead


def counted(context: RequestContext) -> tuple[int, int, int]:
    return context.input_tokens, context.output_tokens, context.cached_tokens


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}', (3, 4, 0)),
        (b'{"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}', (3, 4, 2)),
        (b'{"usage":{"input_tokens":5,"output_tokens":6,"input_tokens_details":{"cached_tokens":1}}}', (5, 6, 1)),
        (b'{"usage":{"input_tokens":5,"output_tokens":6,"cache_read_input_tokens":4}}', (5, 6, 4)),
        (b'{"usage":{"prompt_tokens":9,"prompt_tokens_details":null}}', (9, 0, 0)),
        (b'{"usage":null}', (0, 0, 0)),
        (b'{"usage":"much"}', (0, 0, 0)),
        (b'{"usage":{"prompt_tokens":-1,"completion_tokens":4}}', (0, 0, 0)),
        (b'{"usage":{"prompt_tokens":1%b,"completion_tokens":4}}' % (b"0" * 400), (0, 0, 0)),
        (b'not json, but "usage"', (0, 0, 0)),
        (b"{}", (0, 0, 0)),
    ],
)
def test_the_usage_of_a_whole_answer(answer: bytes, expected: tuple[int, int, int]) -> None:
    context = RequestContext(RequestHead("-"))
    usage.ResponseMeter().meter(context, answer)
    assert counted(context) == expected


def test_an_event_may_hold_its_usage_one_level_down() -> None:
    context = RequestContext(RequestHead("-"))
    assert usage.meter_event(
        context, b'{"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":0}}}'
    )
    assert usage.meter_event(context, b'{"type":"message_delta","usage":{"output_tokens":9}}')
    assert counted(context) == (7, 9, 0)
    assert usage.meter_event(context, b'{"response":{"usage":{"input_tokens":1,"output_tokens":2}}}')
    assert counted(context) == (1, 2, 0)


def test_an_event_without_usage_changes_nothing() -> None:
    context = RequestContext(RequestHead("-"))
    assert not usage.meter_event(context, b'{"choices":[]}')
    assert not usage.meter_event(context, b"[DONE]")
    assert counted(context) == (0, 0, 0)
