"""A configuration that changes while the gateway runs is taken over as a whole, or not at all."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import Gateway
from gateway.config.load import load
from gateway.config.reference import toml
from gateway.config.schema import Config
from gateway.console.startup_log import StartupLog
from gateway.control.commands import ReloadResult
from gateway.core.start_error import StartError
from gateway.reload.reloader import ConfigSource, Reloader, ReloadOutcome
from loadtest.simulator import SimulatedEngine
from loadtest.simulator.batch import Timing
from tests.engines.onnx.tiny import write_embedder
from tests.kit.eventually import eventually
from tests.kit.gateways import RunningGateway
from tests.kit.scripted import scripted_engine, whole
from tests.kit.wire import Response, Wire

CHAT = "/v1/chat/completions"
HEAD = '[gateway]\nlisten = "127.0.0.1:0"\ncontrol = "127.0.0.1:0"\naccess_log = "off"\n'


def model(name: str, *urls: str, **options: Any) -> str:
    lines = [f"[models.{name}]", 'engine = "remote"', f"urls = {json.dumps(urls)}", "health_interval = 0.05"]
    return "\n".join([*lines, *(f"{key} = {toml(value)}" for key, value in options.items()), ""])


def also_n(engine: SimulatedEngine) -> str:
    return model("n", engine.address, upstream_model="m")


class Configured:
    """A gateway whose configuration is a file, and what it says while it runs."""

    def __init__(self, running: RunningGateway, path: Path, said: io.StringIO) -> None:
        self.running = running
        self.path = path
        self.said = said

    def reload(self, *parts: str) -> ReloadResult:
        self.path.write_text("".join(parts))
        return self.running.gateway.commands.reload()

    async def ask(self, name: str, **headers: str) -> Response:
        async with await self.running.wire() as wire:
            body = {"model": name, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
            await wire.request("POST", CHAT, body, headers)
            return await wire.response()


@asynccontextmanager
async def configured(tmp_path: Path, text: str, head: str = HEAD) -> AsyncIterator[Configured]:
    path = tmp_path / "models.toml"
    path.write_text(head + text)
    said = io.StringIO()
    source = ConfigSource(lambda: load(path), (path,))
    gateway = Gateway(source.load(), tmp_path, StartupLog(said), source)
    await gateway.start()
    try:
        running = RunningGateway(gateway)
        await running.until_ready(["m"])
        yield Configured(running, path, said)
    finally:
        await gateway.stop()


@asynccontextmanager
async def two_engines(tmp_path: Path) -> AsyncIterator[tuple[SimulatedEngine, SimulatedEngine]]:
    async with SimulatedEngine("m", uds=tmp_path / "a") as one, SimulatedEngine("m", uds=tmp_path / "b") as two:
        yield one, two


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SimulatedEngine]:
    async with SimulatedEngine("m", uds=tmp_path / "a") as made:
        yield made


async def test_models_and_aliases_are_added_and_removed(tmp_path: Path, engine: SimulatedEngine) -> None:
    async with configured(tmp_path, model("m", engine.address)) as here:
        assert (await here.ask("n")).status == 404
        assert here.reload(HEAD, model("m", engine.address, aliases=["o"]), also_n(engine)).successful
        assert [(await here.ask(name)).status for name in ("m", "n", "o")] == [200, 200, 200]
        assert here.reload(HEAD, model("m", engine.address)).successful
        assert [(await here.ask(name)).status for name in ("m", "n", "o")] == [200, 404, 404]
        assert "the configuration was reloaded" in here.said.getvalue()


async def test_a_scrape_during_reloads_is_of_one_configuration_or_the_other(
    tmp_path: Path, engine: SimulatedEngine
) -> None:
    more = "".join(model(f"n{number}", engine.address, slo={"ttft": 1.0}) for number in range(20))
    async with configured(tmp_path, model("m", engine.address)) as here:
        scrapes: set[int] = set()
        for number in range(8):
            scraping = asyncio.create_task(here.running.metrics())
            await asyncio.sleep(0)
            assert here.reload(HEAD, model("m", engine.address), more if number % 2 else "").successful
            families = {family.name: family for family in text_string_to_metric_families(await scraping)}
            named = {sample.labels["model"] for sample in families["headgate_model_info"].samples}
            scrapes.add(len(named))
            assert {sample.labels["model"] for sample in families["headgate_slo_seconds"].samples} == named - {"m"}
        assert scrapes <= {1, 21}


async def test_the_model_that_a_shared_pool_is_called_after_may_go(tmp_path: Path, engine: SimulatedEngine) -> None:
    shared = model("n", engine.address, upstream_model="m")
    async with configured(tmp_path, model("m", engine.address) + shared) as here:
        assert here.reload(HEAD, shared).successful
        assert (await here.ask("n")).status == 200
        assert (await here.ask("m")).status == 404


async def test_keys_change_at_once_also_for_a_head_that_is_known(tmp_path: Path, engine: SimulatedEngine) -> None:
    def key(secret: str) -> str:
        return f'[[gateway.keys]]\nid = "a"\nsha256 = "{sha256(secret.encode()).hexdigest()}"\n'

    text = model("m", engine.address)
    async with configured(tmp_path, key("old") + text) as here, await here.running.wire() as wire:
        for expected in (200, 200, 401):
            if expected == 401:
                assert here.reload(HEAD, key("new"), text).successful
            body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
            await wire.request("POST", CHAT, body, {"authorization": "Bearer old"})
            assert (await wire.response()).status == expected
        assert (await here.ask("m", authorization="Bearer new")).status == 200


async def test_a_mistake_leaves_everything_as_it_was_and_is_told(tmp_path: Path, engine: SimulatedEngine) -> None:
    async with configured(tmp_path, model("m", engine.address)) as here:
        outcome = here.reload(HEAD, model("m", engine.address, max_queue=-1), model("n", engine.address))
        (problem,) = outcome.problems
        assert problem.startswith(f"{here.path}:9: models.m.max_queue: ")
        assert f"not reloaded: {problem}" in here.said.getvalue()
        assert "headgate_config_last_reload_successful 0.0" in await here.running.metrics()
        assert [(await here.ask(name)).status for name in ("m", "n")] == [200, 404]
        assert here.reload(HEAD, model("m", engine.address)).successful
        assert "headgate_config_last_reload_successful 1.0" in await here.running.metrics()


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('access_log = "off"', 'access_log = "stdout"', "gateway.access_log: is read at the start only"),
        ('access_log = "off"', 'access_log = "off"\nprocesses = 2', "gateway.processes: is read at the start only"),
        ("[models.m]", "[gateway.tuning]\njobs = 2\n[models.m]", "gateway.tuning: is read at the start only"),
        ("[models.m]", "[gateway.files]\nmax_bytes = 1\n[models.m]", "gateway.files: is read at the start only"),
    ],
)
async def test_what_is_read_at_the_start_only_is_refused_by_name(
    tmp_path: Path, engine: SimulatedEngine, before: str, after: str, named: str
) -> None:
    async with configured(tmp_path, model("m", engine.address)) as here:
        (problem,) = here.reload((HEAD + model("m", engine.address)).replace(before, after)).problems
        assert problem.startswith(named)
        assert (await here.ask("m")).status == 200


async def test_a_pool_serves_from_its_old_address_until_a_new_one_is_ready(tmp_path: Path) -> None:
    async with two_engines(tmp_path) as (old, new), configured(tmp_path, model("m", old.address)) as here:
        for _ in range(3):
            assert here.reload(HEAD, model("m", new.address)).successful
            assert (await here.ask("m")).status == 200
        await eventually(lambda: "[1 ready, 0 not" in repr(here.running))
        asked = old.received
        assert (await here.ask("m")).status == 200
        assert old.received == asked


async def test_a_stream_of_a_model_that_is_removed_goes_on_to_its_end(tmp_path: Path, engine: SimulatedEngine) -> None:
    engine.timing = Timing(inter_token=0.02)
    text = model("m", engine.address) + model("n", engine.address, upstream_model="m", policy="round_robin")
    async with configured(tmp_path, text) as here, await here.running.wire() as wire:
        body = {"model": "n", "stream": True, "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
        await wire.request("POST", CHAT, body)
        await wire.head()
        assert here.reload(HEAD, model("m", engine.address)).successful
        assert (await here.ask("n")).status == 404
        assert [event async for event in wire.events()][-1] == b"data: [DONE]"


async def test_requests_that_wait_get_what_a_higher_limit_frees(tmp_path: Path) -> None:
    answer = whole(b"{}")
    async with (
        scripted_engine() as engine,
        configured(tmp_path, model("m", engine.url, max_in_flight=1)) as here,
    ):
        engine.answer = [answer[:1], answer[1:]]
        asked = [asyncio.create_task(here.ask("m")) for _ in range(3)]
        await eventually(lambda: "1 in flight, 2 queued" in repr(here.running))
        assert here.reload(HEAD, model("m", engine.url, max_in_flight=3)).successful
        await eventually(lambda: "3 in flight, 0 queued" in repr(here.running))
        assert here.reload(HEAD, model("m", engine.url)).successful
        # The engine goes on with those requests that it has got, which may not be all of them at first.
        while not all(each.done() for each in asked):
            engine.go_on()
            await asyncio.sleep(0)
        assert {(await each).status for each in asked} == {200}


async def test_commands_of_the_control_port_reload_and_drain(tmp_path: Path) -> None:
    async with (
        two_engines(tmp_path) as (one, two),
        configured(tmp_path, model("m", one.address, two.address)) as here,
    ):
        async with await Wire.connect_to(here.running.control) as wire:
            here.path.write_text("broken")
            await wire.request("POST", "/reload")
            refused = await wire.response()
            assert (refused.status, refused.json["status"]) == (422, "not reloaded")
            assert "models.toml" in refused.json["problems"][0]
            here.path.write_text(HEAD + model("m", one.address, two.address))
            await wire.request("POST", "/reload")
            assert (await wire.response()).json == {"status": "reloaded", "problems": []}
            await wire.request("POST", "/replicas/m-0/drain")
            assert (await wire.response()).json == {"status": "draining"}
            await eventually(lambda: "[1 ready, 0 not" in repr(here.running))
            await wire.request("POST", "/replicas/m-0/drain")
            assert (await wire.response()).status == 404
        for _ in range(4):
            assert (await here.ask("m")).status == 200
        assert one.received == 0


async def test_a_reload_forgets_the_numbers_of_replicas_that_operators_have_fixed(
    tmp_path: Path, engine: SimulatedEngine
) -> None:
    other = model("m", engine.address)
    scaled = '[models.s]\nengine = "onnx"\ntasks = ["embed"]\nsource = "/nowhere"\nscaling = { min = 0, max = 3 }\n'
    async with configured(tmp_path, other + scaled) as here:
        here.running.gateway.commands.scale_model("s", 3)
        assert 'desired_replicas{model="s"} 3' in await here.running.metrics()
        assert not here.reload(HEAD, "broken").successful
        assert 'desired_replicas{model="s"} 3' in await here.running.metrics()
        assert here.reload(HEAD, other, scaled.replace("3", "2")).successful
        found = here.running.gateway.view.local_models()["s"]
        assert found is not None
        # From then on the model has what it needs, and a tick may have found meanwhile that it needs none.
        changes = [(each.before, each.after, each.reason) for each in found.changes]
        assert changes[:2] == [(0, 3, "operator"), (3, 2, "max")]


# engines that run here


def embedder(name: str, folder: Path, **options: Any) -> str:
    lines = [f"[models.{name}]", 'engine = "onnx"', 'tasks = ["embed"]', f"source = {json.dumps(str(folder))}"]
    return "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in options.items()), ""])


class Asking:
    """A client that asks for embeddings one after the other, until it is told that it is enough."""

    def __init__(self, here: Configured, name: str) -> None:
        self.statuses: Counter[int] = Counter()
        self._enough = False
        self._task = asyncio.create_task(self._ask(here, name))

    async def end(self) -> Counter[int]:
        self._enough = True
        await self._task
        return self.statuses

    async def _ask(self, here: Configured, name: str) -> None:
        async with await here.running.wire() as wire:
            while not self._enough:
                await wire.request("POST", "/v1/embeddings", {"model": name, "input": "good"})
                self.statuses[(await wire.response()).status] += 1


async def replicas(here: Configured, name: str) -> dict[str, str]:
    """Give the states of a model's replicas."""
    async with await Wire.connect_to(here.running.control) as wire:
        await wire.request("GET", "/status")
        models = (await wire.response()).json["models"]
    (found,) = [each for each in models if each["model"] == name]
    return {replica["name"]: replica["state"] for replica in found["replicas"]}


async def until_said(here: Configured, *lines: str) -> None:
    """Wait until the gateway has said these things of its engines."""
    await eventually(lambda: all(line in here.said.getvalue() for line in lines), 120)


async def until_ready(here: Configured, name: str, number: int) -> None:
    """Wait until a model has so many replicas, all of them ready."""
    seen: dict[str, str] = {}
    try:
        async with asyncio.timeout(120):
            while list((seen := await replicas(here, name)).values()) != ["ready"] * number:
                pass
    except TimeoutError:
        raise AssertionError(f"still {seen}; {here.said.getvalue()}") from None


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
async def test_engines_are_added_changed_and_removed_and_no_request_fails(
    tmp_path: Path, engine: SimulatedEngine, processes: int
) -> None:
    head, m = HEAD + f"processes = {processes}\n", model("m", engine.address)
    folder = write_embedder(tmp_path)
    async with configured(tmp_path, m, head) as here:
        assert here.reload(head, m, embedder("e", folder)).successful
        await until_ready(here, "e", 1)
        asking = [Asking(here, "e") for _ in range(4)]
        assert here.reload(head, m, embedder("e", folder, max_length=8)).successful
        await until_said(here, "e-1: ready", "e-0: stopped")
        assert here.reload(head, m, embedder("e", folder, max_length=8, replicas=2)).successful
        await until_ready(here, "e", 2)
        assert not here.reload(head, m, embedder("e", folder, gpus=1)).successful
        assert [set(await each.end()) for each in asking] == [{200}] * 4
        assert here.reload(head, m).successful
        await until_said(here, "e-1: stopped")


@pytest.mark.slow
async def test_a_model_moves_from_elsewhere_to_here_and_back(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path)
    async with SimulatedEngine("m", uds=tmp_path / "a") as elsewhere:
        m = model("m", elsewhere.address)
        async with configured(tmp_path, m) as here:
            asking = [Asking(here, "m") for _ in range(2)]
            assert here.reload(HEAD, embedder("m", folder)).successful
            await until_said(here, "m-0: ready")
            await until_ready(here, "m", 1)
            assert here.reload(HEAD, m).successful
            await until_said(here, "m-0: stopped")
            await until_ready(here, "m", 1)
            assert [set(await each.end()) for each in asking] == [{200}] * 2


# when files are looked at


class Applied:
    """What a reloader is given, and what it does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.write_text(model("m", "http://a"))
        self.applied: list[Config] = []
        self.outcomes: list[ReloadOutcome] = []
        source = ConfigSource(lambda: load(path), (path,))
        self.reloader = Reloader(source.load(), source, self.applied.append, self.outcomes.append)

    def looks(self, times: int) -> int:
        for _ in range(times):
            self.reloader.look()
        return len(self.outcomes)


def test_a_change_of_content_is_taken_over_when_it_has_been_the_same_for_two_looks(tmp_path: Path) -> None:
    made = Applied(tmp_path / "models.toml")
    assert made.looks(3) == 0
    made.path.write_text(model("m", "http://b"))
    assert made.looks(1) == 0
    assert made.looks(3) == 1
    assert [config.models.keys() for config in made.applied] == [{"m"}]


def test_the_same_content_written_again_is_no_change(tmp_path: Path) -> None:
    made = Applied(tmp_path / "models.toml")
    made.path.write_text(made.path.read_text())
    assert made.looks(3) == 0


def test_a_link_that_is_swapped_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "data").symlink_to("one")
    made = Applied(tmp_path / "data" / "models.toml")
    (tmp_path / "two" / "models.toml").write_text(model("n", "http://a"))
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "data")
    assert made.looks(2) == 1
    assert made.applied[0].models.keys() == {"n"}


def test_a_mistake_is_told_once_and_not_at_each_look(tmp_path: Path) -> None:
    made = Applied(tmp_path / "models.toml")
    made.path.write_text("nonsense")
    assert made.looks(5) == 1
    assert not made.outcomes[0].successful
    assert made.applied == []


def test_what_cannot_be_applied_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(model("m", "http://a"))
    source = ConfigSource(lambda: load(path), (path,))

    def apply(_config: Config) -> None:
        raise StartError("No certificate.")

    reloader = Reloader(source.load(), source, apply, lambda _: None)
    assert reloader.reload().problems == ("No certificate.",)
