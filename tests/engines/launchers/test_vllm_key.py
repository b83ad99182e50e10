"""vLLM answers only those who know the key; the server here is uvicorn's way of asking, without a socket."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from engines.launchers.vllm_key import KEY_VARIABLE, RequireKey


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> RequireKey:
    async def answer(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    monkeypatch.setenv(KEY_VARIABLE, "s3cret")
    return RequireKey(answer)


async def asked(guarded: RequireKey, path: str, *headers: tuple[bytes, bytes], kind: str = "http") -> Any:
    """Ask, and give the status, or what else was said first."""
    said: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("nothing is read of a request that is refused")

    await guarded({"type": kind, "path": path, "headers": headers}, receive, send)
    return said[0].get("status", said[0]["type"])


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize", "/metrics", "/health/"])
async def test_who_does_not_know_the_key_gets_nothing(guarded: RequireKey, path: str) -> None:
    assert await asked(guarded, path) == 401
    assert await asked(guarded, path, (b"authorization", b"Bearer s3cre")) == 401
    assert await asked(guarded, path, (b"authorization", b"Bearer s3cret")) == 200


async def test_probes_need_no_key(guarded: RequireKey) -> None:
    assert await asked(guarded, "/health") == 200


async def test_a_websocket_is_refused_in_its_own_way(guarded: RequireKey) -> None:
    assert await asked(guarded, "/v1/realtime", kind="websocket") == "websocket.close"
