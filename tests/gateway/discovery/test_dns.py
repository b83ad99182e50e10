"""Each address of a name is a replica, and a name without any is a trouble and no answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import pytest

from gateway.discovery.dns import DnsSource, resolve
from gateway.discovery.source import SourceError
from gateway.pools.discovered import Found


class Resolver:
    """A resolver whose answers a test gives; it keeps what it was asked for."""

    def __init__(self, *answers: Iterable[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Iterable[str]:
        self.asked.append((host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("url", "addresses", "urls"),
    [
        (
            "http://vllm.default.svc:8000",
            ["10.0.0.6", "10.0.0.5", "10.0.0.6"],
            ("http://10.0.0.5:8000", "http://10.0.0.6:8000"),
        ),
        ("http://vllm/v1", ["fd00::1", "10.0.0.5"], ("http://10.0.0.5:80/v1", "http://[fd00::1]:80/v1")),
    ],
)
async def test_each_address_is_a_replica(url: str, addresses: list[str], urls: tuple[str, ...]) -> None:
    assert await DnsSource(url, 1.0, Resolver(addresses)).look() == Found(urls)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([], "'vllm' has no addresses"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "'vllm' was not resolved: Name or service not known",
        ),
        (UnicodeError("label too long"), "'vllm' was not resolved: label too long"),
    ],
)
async def test_no_address_is_an_error(answer: list[str] | Exception, reason: str) -> None:
    with pytest.raises(SourceError, match=rf"^{reason}$"):
        await DnsSource("http://vllm:8000", 1.0, Resolver(answer)).look()


async def test_a_name_is_asked_for_at_each_interval_until_that_fails() -> None:
    resolver = Resolver(["10.0.0.1"], ["10.0.0.2"], OSError(5, "broken"))
    source, told = DnsSource("http://vllm:8000", 0.001, resolver), list[Found]()
    with pytest.raises(SourceError):
        await source.watch(told.append)
    assert told == [Found(("http://10.0.0.1:8000",)), Found(("http://10.0.0.2:8000",))]
    assert resolver.asked == [("vllm", 8000)] * 3
    assert (source.pause(1), source.pause(9)) == (0.001, 0.001)
    assert repr(source) == "<DnsSource http://vllm:8000 every 0.001 s>"


async def test_only_one_question_is_under_way_however_late_its_answer_is() -> None:
    asked, answer = 0, asyncio.Event()

    async def late(_host: str, _port: int) -> list[str]:
        nonlocal asked
        asked += 1
        await answer.wait()
        raise OSError(5, "too late")

    watching = asyncio.create_task(DnsSource("http://vllm:8000", 0.001, late).watch(lambda _: None))
    for _ in range(100):
        await asyncio.sleep(0)
    assert asked == 1
    answer.set()
    with pytest.raises(SourceError, match="too late"):
        await watching


async def test_the_system_resolves_names() -> None:
    addresses = await resolve("localhost", 80)
    assert addresses
    assert set(addresses) <= {"127.0.0.1", "::1"}
