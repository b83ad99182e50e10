"""``/v1/completions``, byte for byte as vLLM 0.32 writes it."""

import json
from typing import Any

from tests.kit.wire import Response, Wire


async def ask(wire: Wire, **fields: Any) -> Response:
    body = {"model": "sim", "prompt": "abcd"} | fields
    await wire.request("POST", "/v1/completions", body, {"x-request-id": "r"})
    return await wire.response()


async def test_a_unary_answer(wire: Wire) -> None:
    answer = (await ask(wire, max_tokens=2)).json
    assert (answer["id"], answer["object"], answer["model"]) == ("cmpl-r", "text_completion", "sim")
    assert answer["choices"] == [
        {
            "index": 0,
            "text": " t0 t1",
            "logprobs": None,
            "finish_reason": "length",
            "stop_reason": None,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
    ]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (1, 2)


async def test_a_streamed_answer(wire: Wire) -> None:
    answer = await ask(wire, max_tokens=2, stream=True)
    created = json.loads(answer.events[0].removeprefix(b"data: "))["created"]
    head = b'data: {"id":"cmpl-r","object":"text_completion","created":%d,"model":"sim","choices":[' % created
    rest = b'"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]'
    assert answer.body == (
        head
        + b'{"index":0,"text":" t0","logprobs":null,"finish_reason":null,'
        + rest
        + b"}\n\n"
        + head
        + b'{"index":0,"text":" t1","logprobs":null,"finish_reason":"length",'
        + rest
        + b',"system_fingerprint":"vllm-0.32.0-simulate"}\n\n'
        b"data: [DONE]\n\n"
    )


async def test_without_a_limit_the_model_stops_by_itself(wire: Wire) -> None:
    *_, stop, _done = (await ask(wire, stream=True)).events
    assert b'"text":"","logprobs":null,"finish_reason":"stop"' in stop


async def test_every_prompt_has_its_choices(wire: Wire) -> None:
    answer = (await ask(wire, prompt=["abcd", [1, 2]], n=2, max_tokens=1)).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] == 4


async def test_a_prompt_that_ends_with_an_answers_beginning_is_gone_on_with(wire: Wire) -> None:
    whole = (await ask(wire, max_tokens=5)).json
    rest = (await ask(wire, max_tokens=2, prompt="abcd t0 t1 t2")).json
    assert rest["choices"][0]["text"] == " t3 t4"
    assert rest["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"] + 3


async def test_no_choice_at_all_is_refused(wire: Wire) -> None:
    answer = await ask(wire, prompt="a", n=0)
    assert (answer.status, answer.json["error"]["message"]) == (400, "n must be at least 1, got 0.")
