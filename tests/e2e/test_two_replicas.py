"""A real vLLM that fifty requests wake from zero, and a second one beside it.

Then one of the two is killed: streams go on, and a LoRA adapter is there again.

The answers are greedy. In another batch or behind another prefill a sum may be rounded in another way, which decides
where two tokens are about equally likely; so these are prompts to which both replicas answer the same, and go on so.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from engines.launchers import LAUNCHERS
from gateway.config.load import load
from gateway.fleet.engine_specs import cache_of, specs_of
from tests.e2e.conftest import HANGING_SECONDS, ROOT, Served, serving
from tests.kit.eventually import eventually
from tests.kit.wire import Wire, WireError

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
CHAT = {"messages": [{"role": "user", "content": "Write a short story about a lighthouse keeper."}]}
PROMPT = {"prompt": "The lighthouse stood on a rock in the sea, and its keeper"}
GREEDY: dict[str, Any] = {
    "model": MODEL,
    "temperature": 0,
    "max_tokens": 60,
    "stream": True,
    "stream_options": {"include_usage": True},
}
KILLED_AFTER = 10
"""Events, of sixty: early enough that an engine that is ahead of its client is in the middle of its answer, too."""


ADAPTER = """
import sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
torch.manual_seed(1)
lora = LoraConfig(r=8, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
get_peft_model(base, lora).save_pretrained(sys.argv[2])
"""
"""Makes an adapter with random weights, whose answers are nothing like its base's."""


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an adapter of the default language model with PEFT."""
    config = load(ROOT / "models.toml")
    (spec,) = [spec for spec in specs_of(config, 0) if spec.model == MODEL]
    base = LAUNCHERS["vllm"].prepare(spec, cache_of(config), print)
    folder = tmp_path_factory.mktemp("adapters") / "poet"
    subprocess.run([sys.executable, "-c", ADAPTER, str(base), str(folder)], check=True, capture_output=True)
    return folder


SCALED = f"""
[models.{MODEL}.scaling]
min = 0
max = 2
target = 100
idle = 3600

[models.{MODEL}.adapters]
poet = "%s"
"""


@pytest.fixture(scope="module")
def at_zero(tmp_path_factory: pytest.TempPathFactory, adapter: Path) -> Iterator[Served]:
    """Serve the default configuration's language model, with an adapter and without any replica."""
    text = (ROOT / "models.toml").read_text().split("[models.prompt-guard]")[0]
    config = tmp_path_factory.mktemp("two") / "models.toml"
    text = text.replace('engine = "vllm"\n', f'engine = "vllm"\nhold = {HANGING_SECONDS}\n')
    config.write_text(text + SCALED % adapter)
    with serving(config) as served:
        yield served


@dataclass(frozen=True)
class Woken:
    """A gateway whose model slept until fifty asked it at once, with what they got and what came of it."""

    served: Served
    statuses: Counter[int]
    scaling: dict[str, Any]
    replicas: list[dict[str, Any]]


@pytest.fixture(scope="module")
def woken(at_zero: Served) -> Woken:
    """Wake the model."""
    assert replicas_of(at_zero) == []
    body = {"model": MODEL, "prompt": "Once", "max_tokens": 4}

    def ask(_: int) -> int:
        return httpx.post(f"{at_zero.address}/v1/completions", json=body, timeout=HANGING_SECONDS).status_code

    with ThreadPoolExecutor(50) as clients:
        statuses = Counter(clients.map(ask, range(50)))
    scaling: Any = at_zero.status()[MODEL]["scaling"]
    return Woken(at_zero, statuses, scaling, replicas_of(at_zero))


def test_fifty_requests_wake_one_replica_and_all_are_answered(woken: Woken) -> None:
    assert woken.statuses == {200: 50}
    assert [(each["from"], each["to"], each["reason"]) for each in woken.scaling["decisions"]] == [(0, 1, "from_zero")]
    assert [each["ready"] for each in woken.replicas] == [True]
    assert woken.scaling["start_seconds"] > 0


@pytest.fixture(scope="module")
def two(woken: Woken) -> Served:
    """Have a second replica by command, which stays until the end."""
    said = headgate(woken.served, "scale", MODEL, "2")
    assert said.stdout.startswith(f"{MODEL} is to have 2 replicas"), said.stderr
    return woken.served


def replicas_of(served: Served) -> list[dict[str, Any]]:
    found: Any = served.status()[MODEL]["replicas"]
    return list(found)


def server_of(address: str) -> int:
    """Find the process of vLLM's server by the socket in its command line."""
    socket = address.removeprefix("unix:").encode()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_bytes().split(b"\0")
        except OSError:
            continue  # It has ended meanwhile.
        if socket in words and b"vllm.entrypoints.openai.api_server" in words and b"-I" not in words:
            return int(command.parent.name)
    raise AssertionError(f"no process serves {address}")


def core_of(server: int) -> int:
    """Find the process of the engine's core, which is a child of the server."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" (", 1)
        except OSError:
            continue  # It has ended meanwhile.
        name, fields = rest.rsplit(") ", 1)
        if fields.split()[1] == str(server) and name.startswith("VLLM::"):
            return int(pid)
    raise AssertionError(f"the server {server} has no core")


@contextmanager
def stopped(processes: Collection[int]) -> Iterator[None]:
    """Let the processes rest meanwhile, so that no engine ends its answer while one looks which of them is busy."""
    for each in processes:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            with suppress(ProcessLookupError):  # It was killed.
                os.kill(each, signal.SIGCONT)


def text_of(events: list[Any]) -> str:
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(choice["text"] if "text" in choice else choice["delta"].get("content") or "" for choice in choices)


def usage_of(events: list[Any]) -> list[Any]:
    return [event["usage"] for event in events if event.get("usage")]


def data_of(lines: list[bytes]) -> list[Any]:
    """Read the events of a whole stream, but for comments and its end marker."""
    assert lines[-1] == b"data: [DONE]"
    return [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1] if line.startswith(b"data: ")]


async def answered(address: str, path: str, body: dict[str, Any]) -> list[Any]:
    """Ask for a stream, and return the data of its events."""
    async with await Wire.connect_to(address, timeout=HANGING_SECONDS) as wire:
        await wire.request("POST", path, body)
        return data_of((await wire.response()).events)


async def well(served: Served) -> list[str]:
    """Return the addresses of the replicas that answer; the gateway may not know yet of the death of one."""
    found = []
    for replica in replicas_of(served):
        try:
            async with await Wire.connect_to(replica["address"], timeout=HANGING_SECONDS) as wire:
                await wire.request("GET", "/health")
                if (await wire.response()).status == 200 and replica["ready"]:
                    found.append(replica["address"])
        except (OSError, WireError):
            continue
    return found


async def both(served: Served) -> list[str]:
    """Wait until both are well: the one that the test before has killed may still be starting again."""
    async with asyncio.timeout(HANGING_SECONDS):
        while len(addresses := await well(served)) < 2:  # noqa: ASYNC110 - other processes have no event
            await asyncio.sleep(0.2)
    return addresses


def poets(served: Served) -> list[str]:
    """Tell how the adapter stands at each replica."""
    listed = httpx.get(f"{served.control}/adapters", timeout=HANGING_SECONDS).json()["adapters"]
    return [replica["state"] for adapter in listed for replica in adapter["replicas"]]


def headgate(served: Served, *words: str) -> subprocess.CompletedProcess[str]:
    control = ["--control", served.control.removeprefix("http://")]
    command = [sys.executable, "-m", "gateway", *words, *control]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def metrics(served: Served) -> str:
    return httpx.get(f"{served.control}/metrics", timeout=HANGING_SECONDS).text


def client_of(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.address}/v1", api_key="none", timeout=HANGING_SECONDS, max_retries=0)


def text(served: Served, model: str) -> str:
    """Ask for a few words that are the same each time."""
    answer = client_of(served).completions.create(model=model, prompt=PROMPT["prompt"], max_tokens=12, temperature=0)
    assert answer.model == model
    return answer.choices[0].text


async def test_an_adapter_is_listed_asked_unloaded_and_loaded(two: Served, adapter: Path, tmp_path: Path) -> None:
    await both(two)
    client = client_of(two)

    def card() -> dict[str, Any]:
        return next((each.model_dump() for each in client.models.list() if each.id == "poet"), {})

    assert (card()["parent"], card()["root"], card()["max_model_len"]) == (MODEL, str(adapter), 2048)
    plain, poem = text(two, MODEL), text(two, "poet")
    assert plain != poem

    assert headgate(two, "adapter", "unload", "poet").stdout == "poet is unloaded.\n"
    assert card() == {}
    with pytest.raises(openai.NotFoundError):
        text(two, "poet")
    pickle = tmp_path / "pickle"
    pickle.mkdir()
    for name, target in (
        ("adapter_config.json", "adapter_config.json"),
        ("adapter_model.safetensors", "adapter_model.bin"),
    ):
        (pickle / target).write_bytes((adapter / name).read_bytes())
    refused = headgate(two, "adapter", "load", "poet", str(pickle), "--base", MODEL)
    assert (refused.returncode, "is a pickle" in refused.stderr) == (1, True)
    assert headgate(two, "adapter", "load", "poet", str(adapter), "--base", MODEL).stdout == "poet is loaded.\n"
    assert [text(two, "poet") for _ in range(2)] == [poem] * 2


async def stream_while_killing(killed: str, two: Served, path: str, asked: dict[str, Any]) -> None:
    """Kill the server or the core of the engine that answers, and compare with what both answer undisturbed."""
    body = GREEDY | asked
    addresses = await both(two)
    unbroken = [await answered(address, path, body) for address in addresses]
    assert text_of(unbroken[0]) == text_of(unbroken[1])
    servers = {address: server_of(address) for address in addresses}
    cores = {address: core_of(server) for address, server in servers.items()}
    lines: list[bytes] = []
    async with await Wire.connect_to(two.address, timeout=HANGING_SECONDS) as wire:
        await wire.request("POST", path, body)
        async for line in wire.events():
            lines.append(line)
            if len(lines) == KILLED_AFTER:
                with stopped(cores.values()):
                    (busy,) = [each["address"] for each in replicas_of(two) if each["in_flight"]]
                    os.kill((servers if killed == "server" else cores)[busy], signal.SIGKILL)
    assert lines[-2:] == [b": headgate recovered 1", b"data: [DONE]"]
    got = data_of(lines)
    assert text_of(got) == text_of(unbroken[0])
    assert usage_of(got) == usage_of(unbroken[0])
    assert {(event["id"], event["created"], event["model"]) for event in got} == {
        (got[0]["id"], got[0]["created"], MODEL)
    }
    assert [choice["finish_reason"] for event in got for choice in event["choices"] if choice["finish_reason"]] == [
        "length"
    ]


async def test_an_unbroken_chat_although_the_core_of_its_engine_is_killed(two: Served) -> None:
    await stream_while_killing("core", two, "/v1/chat/completions", CHAT)


async def test_an_adapter_is_there_again_when_its_engine_is(two: Served) -> None:
    """The test before this one has killed an engine: to start one once more would take a minute."""
    await both(two)
    restarts = re.findall(r"^headgate_replica_restarts_total{.*} (\S+)$", metrics(two), re.MULTILINE)
    assert sum(map(float, restarts)) == 1
    await eventually(lambda: poets(two) == ["loaded", "loaded"], HANGING_SECONDS)
    poems = {text(two, "poet") for _ in range(4)}
    assert len(poems) == 1
    assert text(two, MODEL) not in poems


async def test_an_unbroken_completion_although_the_server_of_its_engine_is_killed(two: Served) -> None:
    """The last one, as nobody waits for the engine that it kills."""
    await stream_while_killing("server", two, "/v1/completions", PROMPT)
