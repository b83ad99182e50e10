"""Whether the gateway takes requests, and which version it is."""

from __future__ import annotations

from tests.kit.playbook import Playbook


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


async def test_health_and_ping_answer_with_an_empty_body() -> None:
    play = Playbook()
    for path in ("/health", "/ping"):
        play.client.sends(get(path))
        await play.turn()
        got = play.client.got()
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert got.endswith(b"content-length: 0\r\n\r\n")


async def test_head_is_answered_like_get_without_a_body() -> None:
    play = Playbook()
    play.client.sends(get("/version", "HEAD"))
    await play.turn()
    assert play.client.got().endswith(b"content-length: 15\r\n\r\n")


async def test_the_version_is_told() -> None:
    play = Playbook()
    play.client.sends(get("/version"))
    await play.turn()
    assert play.client.got().endswith(b'{"version":"0"}')


async def test_a_gateway_that_drains_says_so() -> None:
    play = Playbook()
    play.dispatcher.refuse_new()
    play.client.sends(get("/health"))
    await play.turn()
    assert b'"code":"shutting_down"' in play.client.got()
