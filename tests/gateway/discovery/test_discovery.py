"""Pools have what their sources tell, keep it while those fail, and the log says each trouble once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config.discovery import DiscoverTable
from gateway.config.schema import Config
from gateway.discovery.discovery import Discoveries, source_of
from gateway.discovery.source import SourceError, Tell
from gateway.pools.build import RegistryBuilder
from gateway.pools.discovered import Discovered, Found
from gateway.pools.pool import Pool
from tests.kit.eventually import eventually


class Scripted:
    """A source that tells what a test says, each time that it is asked to."""

    def __init__(self) -> None:
        self._next: asyncio.Queue[Found | SourceError] = asyncio.Queue()
        self.pauses: list[int] = []
        self.watched = 0

    def __repr__(self) -> str:
        return "<Scripted>"

    def tell(self, *hosts: str) -> None:
        self._next.put_nowait(Found(tuple(f"http://{host}" for host in hosts)))

    def fail(self, reason: str) -> None:
        self._next.put_nowait(SourceError(reason))

    async def watch(self, tell: Tell) -> None:
        self.watched += 1
        while True:
            said = await self._next.get()
            if isinstance(said, SourceError):
                raise said
            tell(said)

    def pause(self, failures: int) -> float:
        self.pauses.append(failures)
        return 0.0


class Discovering:
    """One model ``m`` whose source is a script, and what was said."""

    def __init__(self, **options: object) -> None:
        self.source = Scripted()
        self.said: list[str] = []
        self.builder = RegistryBuilder()
        self.found: list[Found] = []
        self.discoveries = Discoveries(self._set_found, self.said.append, source_of=lambda _: self.source)
        self.reload(file="/replicas.json", **options)

    def _set_found(self, pool: Pool, found: Found) -> None:
        self.found.append(found)
        self.builder.set_found(pool, found)

    def reload(self, **table: object) -> None:
        model = {"engine": "remote", "discover": table}
        registry = self.builder.build(Config.model_validate({"models": {"m": model}}))
        self.pool: Pool = registry.find("m").pool
        self.discoveries.follow({self.pool: DiscoverTable.model_validate(table)})

    @property
    def discovered(self) -> Discovered:
        assert self.pool.discovered is not None
        return self.pool.discovered

    @property
    def hosts(self) -> Sequence[str]:
        return [each.address.host for each in self.pool.replicas]

    async def until(self, *hosts: str) -> None:
        await eventually(lambda: self.hosts == list(hosts))


@asynccontextmanager
async def discovering(**options: object) -> AsyncIterator[Discovering]:
    made = Discovering(**options)
    try:
        yield made
    finally:
        await made.discoveries.stop()


async def test_a_pool_has_what_its_source_tells() -> None:
    async with discovering() as made:
        made.source.tell("a", "b")
        await made.until("a", "b")
        assert (made.discovered.errors, made.discovered.trouble, made.said) == (0, "", [])
        assert made.discovered.age() < 60
        assert repr(made.discoveries) == "<Discoveries [<Discovery of 'm' by <Scripted>>]>"


async def test_a_pool_is_left_alone_as_long_as_nothing_has_changed() -> None:
    async with discovering() as made:
        for host in ("a", "a", "b", "b", "a"):
            made.source.tell(host)
        made.source.fail("end")
        await eventually(lambda: made.discovered.errors)
        assert [found.urls for found in made.found] == [("http://a",), ("http://b",), ("http://a",)]


async def test_the_start_waits_for_the_first_answer_or_the_first_failure() -> None:
    for first in ("tell", "fail"):
        async with discovering() as made:
            waiting = asyncio.create_task(made.discoveries.first_answers())
            for _ in range(10):
                await asyncio.sleep(0)
            assert not waiting.done()
            getattr(made.source, first)("a")
            await asyncio.wait_for(waiting, 5)


async def test_the_start_waits_no_longer_for_a_source_that_is_asked_no_more() -> None:
    async with discovering() as made:
        waiting = asyncio.create_task(made.discoveries.first_answers())
        await asyncio.sleep(0)
        made.discoveries.follow({})
        await asyncio.wait_for(waiting, 5)


async def test_a_source_that_fails_leaves_what_there_is_and_is_said_once() -> None:
    async with discovering() as made:
        made.source.tell("a")
        await made.until("a")
        for _ in range(3):
            made.source.fail("no file")
        await eventually(lambda: made.discovered.errors == 3)
        assert (made.hosts, made.discovered.trouble) == (["a"], "no file")
        assert made.source.pauses == [1, 2, 3]
        made.source.tell("b", "a")
        await made.until("a", "b")
        assert made.discovered.trouble == ""
        assert made.said == [
            "discovery of 'm' by file /replicas.json: no file; what was found before stays (1)",
            "discovery of 'm' by file /replicas.json: works again",
        ]


async def test_of_too_many_addresses_those_stay_that_are_there_and_the_log_says_it_once() -> None:
    many = [f"h{number:04}" for number in range(5000)]
    async with discovering(max_replicas=3) as made:
        made.source.tell("h4999", "h2500")
        await made.until("h4999", "h2500")
        for _ in range(3):
            made.source.tell(*many)
        made.source.fail("end")
        await eventually(lambda: made.discovered.errors == 1)
        assert made.hosts == ["h4999", "h2500", "h0000"]
        assert made.said[0] == (
            "discovery of 'm' by file /replicas.json: has 5000 addresses, "
            "and max_replicas is 3: the others are left out"
        )
        assert len(made.said) == 2


async def test_a_source_that_did_not_change_is_not_asked_anew_by_a_reload() -> None:
    async with discovering() as made:
        made.source.tell("a")
        await made.until("a")
        made.reload(file="/replicas.json")
        assert (made.hosts, made.source.watched) == (["a"], 1)
        made.reload(file="/other.json")
        made.source.tell("b")
        await eventually(lambda: "b" in made.hosts)
        assert made.source.watched == 2


@pytest.mark.parametrize(
    ("table", "source"),
    [
        ({"dns": "http://vllm:8000"}, "<DnsSource http://vllm:8000 every 5 s>"),
        ({"file": Path("/a.json")}, "<FileSource /a.json [0 replicas]>"),
        ({"kubernetes": "default/vllm:http"}, "<KubernetesSource default/vllm [0 slices]>"),
    ],
)
async def test_each_option_has_its_source(table: dict[str, object], source: str) -> None:
    assert repr(source_of(DiscoverTable.model_validate(table))) == source
