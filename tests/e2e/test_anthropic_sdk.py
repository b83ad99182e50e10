"""The official Anthropic SDK on ``/v1/messages``, against the running default."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest

from tests.e2e.conftest import Served

pytestmark = pytest.mark.slow

CHAT = "smollm2-135m"
QUESTION: list[anthropic.types.MessageParam] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def client(served: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=served.address, api_key="unused", max_retries=0) as client:
        yield client


def test_a_message(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model=CHAT, max_tokens=20, messages=QUESTION)
    assert isinstance(message.content[0], anthropic.types.TextBlock)
    assert message.content[0].text
    assert message.usage.output_tokens > 0


def test_a_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model=CHAT, max_tokens=20, messages=QUESTION) as stream:
        words = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(words)
    assert final.usage.output_tokens == 20 or final.stop_reason == "end_turn"


def test_counting_tokens(client: anthropic.Anthropic) -> None:
    assert client.messages.count_tokens(model=CHAT, messages=QUESTION).input_tokens > 5


def test_an_unknown_model_is_the_sdks_exception(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="claude", max_tokens=20, messages=QUESTION)
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["error"]["type"] == "not_found_error"
