"""``/v1/chat/completions``, byte for byte as vLLM 0.32 writes it."""

import json
from typing import Any

from tests.kit.shapes import stream_shape
from tests.kit.wire import Response, Wire

MESSAGES = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]


async def ask(wire: Wire, **fields: Any) -> Response:
    await wire.request(
        "POST", "/v1/chat/completions", {"model": "sim", "messages": MESSAGES} | fields, {"x-request-id": "r"}
    )
    return await wire.response()


async def test_a_unary_answer(wire: Wire) -> None:
    answer = (await ask(wire, max_tokens=2)).json
    assert answer.pop("created") > 0
    assert answer == {
        "id": "chatcmpl-r",
        "object": "chat.completion",
        "model": "sim",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": " t0 t1",
                    "refusal": None,
                    "annotations": None,
                    "audio": None,
                    "function_call": None,
                    "reasoning": None,
                },
                "logprobs": None,
                "finish_reason": "length",
                "stop_reason": None,
                "token_ids": None,
                "routed_experts": None,
            }
        ],
        "service_tier": None,
        "system_fingerprint": "vllm-0.32.0-simulate",
        "usage": {
            "prompt_tokens": 8,
            "total_tokens": 10,
            "completion_tokens": 2,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        },
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


async def test_a_streamed_answer(wire: Wire) -> None:
    answer = await ask(wire, max_tokens=2, stream=True)
    created = json.loads(answer.events[0].removeprefix(b"data: "))["created"]
    head = b'data: {"id":"chatcmpl-r","object":"chat.completion.chunk","created":%d,"model":"sim","choices":[' % created
    assert answer.body == (
        head + b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],'
        b'"prompt_token_ids":null,"prompt_text":null}\n\n'
        + head
        + b'{"index":0,"delta":{"content":" t0"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
        + head
        + b'{"index":0,"delta":{"content":" t1"},"logprobs":null,"finish_reason":"length","stop_reason":null,'
        b'"token_ids":null}],"system_fingerprint":"vllm-0.32.0-simulate"}\n\n'
        b"data: [DONE]\n\n"
    )


async def test_without_a_limit_the_model_stops_by_itself(wire: Wire) -> None:
    assert (await ask(wire)).json["choices"][0]["finish_reason"] == "stop"
    *_, last, stop, _done = (await ask(wire, stream=True)).events
    assert b'"content":" t15"},"logprobs":null,"finish_reason":null' in last
    assert b'"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null' in stop


async def test_log_probabilities(wire: Wire) -> None:
    unary = (await ask(wire, max_tokens=1, logprobs=True)).json["choices"][0]["logprobs"]
    assert unary == {
        "content": [{"token": " t0", "logprob": -0.25, "bytes": [32, 116, 48], "top_logprobs": []}],
    }
    _role, event, _done = (await ask(wire, max_tokens=1, logprobs=True, stream=True)).events
    assert json.loads(event.removeprefix(b"data: "))["choices"][0]["logprobs"] == unary


async def test_a_required_tool_is_called(wire: Wire) -> None:
    choice = (await ask(wire, tools=TOOLS, tool_choice="required")).json["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert (call["type"], call["function"]["name"]) == ("function", "look")
    assert json.loads(call["function"]["arguments"])["words"].startswith(" t1 t2")


async def test_a_named_tool_is_called_in_pieces(wire: Wire) -> None:
    named = {"type": "function", "function": {"name": "other"}}
    events = (await ask(wire, tools=TOOLS, tool_choice=named, stream=True, max_tokens=3)).events
    deltas = [json.loads(event.removeprefix(b"data: "))["choices"][0]["delta"] for event in events[1:-1]]
    calls = [delta["tool_calls"][0] for delta in deltas]
    assert calls == [
        {"id": "chatcmpl-tool-r", "type": "function", "index": 0, "function": {"name": "other"}},
        {"index": 0, "function": {"arguments": '{"words":" t1'}},
        {"index": 0, "function": {"arguments": ' t2"}'}},
    ]
    assert all(delta["content"] is None for delta in deltas)


async def test_tools_that_need_not_be_called_are_not(wire: Wire) -> None:
    choice = (await ask(wire, tools=TOOLS, tool_choice="auto")).json["choices"][0]
    assert "tool_calls" not in choice["message"]


async def test_the_shapes_of_a_stream_do_not_depend_on_its_length(wire: Wire) -> None:
    short = stream_shape((await ask(wire, stream=True, max_tokens=3)).events)
    long = stream_shape((await ask(wire, stream=True, max_tokens=300)).events)
    assert short == long
    assert len(short) == 4


async def test_a_conversation_must_be_there_and_must_not_be_empty(wire: Wire) -> None:
    assert (await ask(wire, messages=None)).json["error"]["param"] == "body.messages"
    assert "empty conversation" in (await ask(wire, messages=[])).json["error"]["message"]


async def test_a_wrong_request_is_refused(wire: Wire) -> None:
    answer = await ask(wire, stream_options={"include_usage": True})
    assert answer.status == 400
    assert answer.json["error"] == {
        "message": "EventStream options can only be defined when `stream=True`. (parameter=stream_options)",
        "type": "BadRequestError",
        "param": "stream_options",
        "code": 400,
    }


async def test_a_message_of_the_assistant_is_continued_where_that_is_asked_for(wire: Wire) -> None:
    whole = (await ask(wire, max_tokens=5)).json
    messages = [*MESSAGES, {"role": "assistant", "content": " t0 t1 t2"}]
    rest = (await ask(wire, max_tokens=2, messages=messages, continue_final_message=True)).json
    assert rest["choices"][0]["message"]["content"] == " t3 t4"
    assert rest["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"] + 3
