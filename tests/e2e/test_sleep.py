"""Two models that share one GPU: one that is not needed sleeps, and is woken by its next request.

vLLM cannot sleep on a CPU: the engines are simulated ones, started in its stead by the name of its server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx
import pytest

from tests.e2e.conftest import HANGING_SECONDS, Served, serving

pytestmark = pytest.mark.slow

SERVER = """\
import argparse, os
from loadtest.simulator.__main__ import main
parser = argparse.ArgumentParser()
parser.add_argument("--uds")
parser.add_argument("--served-model-name")
parser.add_argument("--enable-sleep-mode", action="store_true", required=True)
given, _ = parser.parse_known_args()
with open(os.environ["STARTED"], "a") as started:
    started.write(given.served_model_name)
main(["--uds", given.uds, "--model", given.served_model_name, "--enable-sleep-mode"])
"""

CONFIG = """\
[models.{name}]
engine = "vllm"
source = "./{name}"
env = {{ PYTHONPATH = "{folder}", STARTED = "{folder}/started" }}
hold = 120
scaling = {{ min = 0, max = 1, target = 100, sleep_level = {level} }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sleep")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    package = folder
    for name in ("vllm", "entrypoints", "openai"):
        package /= name
        package.mkdir()
        (package / "__init__.py").touch()
    (package / "api_server.py").write_text(SERVER)
    models = {"a": 1, "b": 2}
    for name in models:
        (folder / name).mkdir()
    text = [CONFIG.format(name=name, level=level, folder=folder) for name, level in models.items()]
    (folder / "models.toml").write_text("\n".join(text))
    with serving(folder / "models.toml", CUDA_VISIBLE_DEVICES="0") as running:
        yield running


def ask(served: Served, model: str) -> int:
    body = {"model": model, "prompt": "a", "max_tokens": 1}
    return httpx.post(f"{served.address}/v1/completions", json=body, timeout=HANGING_SECONDS).status_code


def let_go(served: Served, model: str) -> None:
    """Let a model's replica go at once, as it would go when it is idle, and wait until it sleeps."""
    url = f"{served.control}/models/{model}/scale"
    to_zero = httpx.post(url, json={"replicas": 0}, timeout=HANGING_SECONDS)
    assert to_zero.status_code == 200, to_zero.text
    deadline = monotonic() + HANGING_SECONDS
    while replica(served, model)["state"] != "asleep":
        assert monotonic() < deadline, replica(served, model)


def replica(served: Served, model: str) -> dict[str, object]:
    replicas = served.status()[model]["replicas"]
    assert isinstance(replicas, list)
    found: dict[str, object] = replicas[0] if replicas else {"state": None}
    return found


def test_a_model_that_sleeps_leaves_its_gpu_to_another_and_is_woken_by_its_next_request(
    served: Served, folder: Path
) -> None:
    assert ask(served, "a") == 200
    let_go(served, "a")
    assert replica(served, "a")["reason"] == "sleep level 1"
    scaling = served.status()["a"]["scaling"]
    assert isinstance(scaling, dict)
    assert (scaling["asleep"], scaling["desired"]) == (1, 0)
    metrics = httpx.get(f"{served.control}/metrics", timeout=HANGING_SECONDS).text
    assert re.search(r'^headgate_replicas\{model="a",state="asleep"\} 1', metrics, re.MULTILINE)
    assert httpx.get(f"{served.control}/readyz", timeout=HANGING_SECONDS).status_code == 200

    assert ask(served, "b") == 200
    let_go(served, "b")
    assert ask(served, "a") == 200
    let_go(served, "a")
    assert ask(served, "b") == 200
    assert (folder / "started").read_text() == "ab"
    refused = httpx.post(f"{served.address}/sleep?level=1", timeout=HANGING_SECONDS)
    assert refused.status_code == 404
