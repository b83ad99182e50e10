"""Each step of the start is said once, with its time, whether or not anybody reads."""

from __future__ import annotations

import io
import re

from gateway.console.startup_log import StartupLog


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
