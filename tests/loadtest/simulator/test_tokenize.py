"""``/tokenize`` and ``/detokenize`` undo each other."""

from typing import Any

from tests.kit.wire import Response, Wire


async def ask(wire: Wire, path: str, **fields: Any) -> Response:
    await wire.request("POST", path, {"model": "sim"} | fields)
    return await wire.response()


async def test_tokens_give_the_text_back(wire: Wire) -> None:
    answer = (await ask(wire, "/tokenize", prompt="hello world")).json
    assert (answer["count"], answer["max_model_len"], answer["token_strs"]) == (3, 2**20, None)
    assert (await ask(wire, "/detokenize", tokens=answer["tokens"])).json == {"prompt": "hello world"}


async def test_tokens_can_be_had_as_texts(wire: Wire) -> None:
    answer = (await ask(wire, "/tokenize", prompt="hello", return_token_strs=True)).json
    assert answer["token_strs"] == ["hell", "o"]


async def test_conversations_have_tokens_too(wire: Wire) -> None:
    assert (await ask(wire, "/tokenize", messages=[{"role": "user", "content": "hi"}])).json["count"] == 8


async def test_an_empty_prompt_has_none(wire: Wire) -> None:
    assert (await ask(wire, "/tokenize", prompt="")).json["tokens"] == []


async def test_there_must_be_something(wire: Wire) -> None:
    assert (await ask(wire, "/tokenize")).json["error"]["param"] == "body.prompt"


async def test_what_can_be_no_token_is_refused_by_its_place(wire: Wire) -> None:
    for wrong in (-1, 2**63):
        answer = await ask(wire, "/detokenize", tokens=[1, wrong])
        assert (answer.status, answer.json["error"]["param"]) == (400, "body.tokens[1]")
