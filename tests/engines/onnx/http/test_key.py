"""Where the server has a key, only those who know it are answered."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from engines.onnx.http.key import require_key


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def test_only_who_knows_the_key_is_answered_but_for_probes() -> None:
    app = web.Application(middlewares=[require_key("s3cret")])
    app.add_routes([web.get("/health", hello), web.post("/classify", hello)])
    async with TestClient(TestServer(app)) as client:

        async def status(path: str, authorization: str | None, method: str = "POST") -> int:
            headers = {} if authorization is None else {"authorization": authorization}
            async with client.request(method, path, headers=headers) as response:
                return response.status

        assert await status("/health", None, "GET") == 200
        assert await status("/classify", "Bearer s3cret") == 200
        assert [await status("/classify", given) for given in (None, "s3cret", "Bearer s3cre", "Bearer ü")] == [401] * 4
        assert await status("/nowhere", None) == 401


def test_the_key_is_in_no_name_of_the_guard() -> None:
    assert "s3cret" not in repr(require_key("s3cret"))
