"""The official OpenAI SDK against the running default: what its users do, and what they see when it fails."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam

from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow

CHAT = "smollm2-135m"
CAPITAL: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{served.address}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0)
    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert answer._request_id is not None


def test_a_stream_has_the_same_words_and_no_usage_that_was_not_asked_for(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "The capital of France is Paris."
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_brings_the_usage_that_was_asked_for(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=CHAT,
        messages=CAPITAL,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8


async def test_the_asynchronous_client(async_client: openai.AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0)
    stream = await async_client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, stream=True)
    words = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(words) == answer.choices[0].message.content


def test_completions_and_logprobs_pass_through(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=CHAT, prompt="One, two, three,", max_tokens=4, temperature=0, logprobs=2, extra_body={"min_tokens": 4}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    assert answer.choices[0].logprobs is not None
    assert len(answer.choices[0].logprobs.tokens or []) == 4


def test_response_format_reaches_the_engine(client: openai.OpenAI) -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Give me a number as JSON."}],
        max_tokens=30,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "number", "schema": schema}},
    )
    assert (answer.choices[0].message.content or "").lstrip().startswith("{")


def test_tool_fields_reach_the_engine_and_its_calls_come_back(client: openai.OpenAI) -> None:
    tool: ChatCompletionFunctionToolParam = {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        max_tokens=120,
        temperature=0,
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "weather"
    assert "Paris" in calls[0].function.arguments


def test_responses(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=CHAT, input="What is the capital of France?", temperature=0)
    assert "Paris" in answer.output_text
    with client.responses.stream(model=CHAT, input="What is the capital of France?", temperature=0) as stream:
        kinds = [event.type for event in stream]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"


def test_embeddings_in_both_encodings(client: openai.OpenAI) -> None:
    texts = ["The gate at the head of the channel", "A cat"]
    floats = client.embeddings.create(model="minilm", input=texts, encoding_format="float")
    coded = client.embeddings.with_raw_response.create(model="minilm", input=texts, encoding_format="base64")
    assert [len(item.embedding) for item in floats.data] == [384, 384]
    packed = json.loads(coded.text)["data"][1]["embedding"]
    assert struct.unpack("<384f", base64.b64decode(packed)) == pytest.approx(floats.data[1].embedding, abs=1e-6)


def test_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {CHAT, "prompt-guard", "minilm"}
    assert client.models.retrieve("minilm").id == "minilm"


def test_errors_become_the_sdks_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-4o", messages=CAPITAL)
    assert unknown.value.code == "model_not_found"
    assert unknown.value.param == "model"
    with pytest.raises(openai.BadRequestError) as unable:
        client.embeddings.create(model=CHAT, input="x")
    assert "minilm" in unable.value.message
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "word " * 5000}])
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=-1)
    assert wrong.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="stream"):
        client.chat.completions.create(
            model=CHAT,
            messages=CAPITAL,
            stream_options={"include_usage": True},
        )
