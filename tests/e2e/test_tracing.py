"""One trace from the client through the gateway into a real vLLM."""

from __future__ import annotations

import secrets

import httpx
import pytest

from tests.e2e.conftest import HANGING_SECONDS, Served
from tests.kit.otlp import ThreadedReceiver, attributes_of

pytestmark = pytest.mark.slow

CHAT = "smollm2-135m"


def test_the_span_of_vllm_is_a_child_of_the_attempt_in_the_trace_of_the_client(
    served: Served, traces: ThreadedReceiver
) -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    answer = httpx.post(
        f"{served.address}/v1/chat/completions",
        json={"model": CHAT, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3},
        headers={"traceparent": f"00-{trace_id}-{span_id}-01"},
        timeout=HANGING_SECONDS,
    )
    assert answer.status_code == 200
    names = ("POST /v1/chat/completions", f"chat {CHAT}", "llm_request")
    request, attempt, engine = traces.spans_named(*names, trace_id=trace_id)
    assert request.parent_span_id.hex() == span_id
    assert attempt.parent_span_id == request.span_id
    assert engine.parent_span_id == attempt.span_id
    usage = answer.json()["usage"]
    assert attributes_of(attempt)["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert attributes_of(engine)["gen_ai.usage.prompt_tokens"] == usage["prompt_tokens"]
    assert [line["trace_id"] for line in served.logged(answer.headers["x-request-id"])] == [trace_id]
