"""The panel shows where to ask, what there is, and lines that can be pasted."""

from __future__ import annotations

import io
import json
import re
import shlex

from gateway.console import Row, StartupLog, render

ADDRESS, CONTROL = "http://127.0.0.1:8000", "http://127.0.0.1:9000"


def row(model: str, *tasks: str, ready: int = 1, state: str = "ready", reason: str = "") -> Row:
    return Row(model, "vllm", tasks, ready, 1, state, reason)


def test_the_panel_names_addresses_and_each_model_with_its_engine_and_state() -> None:
    rows = [row("chat", "generate"), row("guard", "classify", ready=0, state="failed", reason="no file\nno hope")]
    assert render(ADDRESS, CONTROL, rows, 12.4).splitlines()[:8] == [
        f"Headgate serves at {ADDRESS} (up after 12 s; metrics and probes at {CONTROL})",
        "",
        "  model  engine  replicas  state",
        "  chat   vllm    1/1       ready",
        "  guard  vllm    0/1       failed",
        "      no file",
        "      no hope",
        "",
    ]


def test_each_kind_of_model_has_a_line_to_paste() -> None:
    rows = [row("chat", "generate"), row("guard", "classify"), row("mini", "embed")]
    panel = render(ADDRESS, CONTROL, rows, 1.0)
    commands = [shlex.split(each) for each in re.findall(r"  (curl .*\\\n.*)", panel)]
    assert [(command[1], json.loads(command[-1])["model"]) for command in commands] == [
        (f"{ADDRESS}/v1/chat/completions", "chat"),
        (f"{ADDRESS}/classify", "guard"),
        (f"{ADDRESS}/v1/embeddings", "mini"),
    ]


def test_the_page_is_named_where_there_is_one() -> None:
    assert f"See and try it in a browser: {CONTROL}/\n" in render(ADDRESS, CONTROL, [], 1.0, page=f"{CONTROL}/")
    assert "browser" not in render(ADDRESS, CONTROL, [], 1.0)


def test_where_keys_are_asked_for_the_line_has_a_place_for_one() -> None:
    panel = render(ADDRESS, CONTROL, [row("chat", "generate")], 1.0, keyed=True)
    assert "-H 'authorization: Bearer YOUR_KEY' -H 'content-type" in panel


def test_a_model_that_cannot_answer_is_not_offered() -> None:
    assert "curl" not in render(ADDRESS, CONTROL, [row("chat", "generate", ready=0, state="failed")], 1.0)


def test_a_step_is_said_once_with_the_time() -> None:
    out = io.StringIO()
    start_up = StartupLog(out)
    for what in ("starting", "starting", "ready", "starting"):
        start_up.step("chat-0", what)
    said = out.getvalue().splitlines()
    assert all(re.match(r"\[ +\d+\.\d s\] chat-0: ", line) for line in said)
    assert [line.rpartition(" ")[2] for line in said] == ["starting", "ready", "starting"]


def test_who_is_awaited_is_said_with_the_last_step() -> None:
    out = io.StringIO()
    start_up = StartupLog(out)
    start_up.step("a-0", "loading")
    start_up.waiting(["a-0", "b-0"])
    assert out.getvalue().splitlines()[-1].endswith("] still a-0: loading, b-0: waiting")


class ClosedPipe(io.StringIO):
    """A terminal that has gone."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_that_nobody_reads_ends_nothing() -> None:
    StartupLog(ClosedPipe()).step("a-0", "ready")
