"""What a person pastes: the lines of the panel and of the README, run by a shell."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Served

pytestmark = pytest.mark.slow


def curl_lines(text: str) -> list[str]:
    """Find the curl commands in a text, with their continued lines."""
    return [command.replace("\\\n", " ") for command in re.findall(r"curl (?:[^\n]*\\\n)*[^\n]*", text)]


def run(command: str) -> str:
    done = subprocess.run(
        ["bash", "-c", f"{command} -sS --fail-with-body"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_lines_of_the_panel_answer(served: Served) -> None:
    chat, classify, embed = (json.loads(run(line)) for line in curl_lines(served.panel))
    assert "Paris" in chat["choices"][0]["message"]["content"]
    assert classify["data"][0]["label"] == "injection"
    assert len(embed["data"][0]["embedding"]) == 384


def test_the_lines_of_the_readme_answer(served: Served) -> None:
    lines = curl_lines(Path(ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(lines) >= 3
    for line in lines:
        here = line.replace("http://127.0.0.1:8000", served.address).replace("http://127.0.0.1:9000", served.control)
        assert run(here)


def test_a_stream_arrives_as_events_and_ends_with_done(served: Served) -> None:
    body = '{"model":"smollm2-135m","stream":true,"max_tokens":3,"messages":[{"role":"user","content":"Hi"}]}'
    said = run(f"curl -N {served.address}/v1/chat/completions -H 'content-type: application/json' -d '{body}'")
    events = [event for event in said.split("\n\n") if event]
    assert all(event.startswith("data: ") for event in events)
    assert events[-1] == "data: [DONE]"


def test_expect_100_continue_is_answered(served: Served) -> None:
    body = json.dumps({"model": "prompt-guard", "input": ["x " * 60] * 50})
    command = (
        f"curl {served.address}/classify -H 'content-type: application/json' -H 'expect: 100-continue' -d '{body}'"
    )
    assert len(json.loads(run(command))["data"]) == 50


@pytest.mark.parametrize(
    "path", ["/collective_rpc", "/v1/load_lora_adapter", "/reset_prefix_cache", "/sleep", "/invocations"]
)
def test_what_vllm_has_beyond_the_table_is_not_there(served: Served, path: str) -> None:
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", f"{served.address}{path}", "-d", "{}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "404"


def test_tokenize_and_detokenize_are_each_others_inverse(served: Served) -> None:
    header = "-H 'content-type: application/json'"
    tokens = json.loads(
        run(f'curl {served.address}/tokenize {header} -d \'{{"model":"smollm2-135m","prompt":"Hi there"}}\'')
    )
    body = json.dumps({"model": "smollm2-135m", "tokens": tokens["tokens"]})
    assert json.loads(run(f"curl {served.address}/detokenize {header} -d '{body}'"))["prompt"] == "Hi there"
