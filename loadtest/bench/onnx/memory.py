"""Whether the engine's memory grows over thousands of requests of all lengths."""

from __future__ import annotations

import random
from collections.abc import Sequence

from loadtest import workload
from loadtest.bench.launch import Server
from loadtest.bench.onnx import servers
from loadtest.bench.onnx.subject import Subject
from loadtest.load import Load
from loadtest.workload import Request

_AT_ONCE = 16


async def measure(subject: Subject) -> None:
    """Print the engine's resident memory after each tenth of the requests, and by how much it grew."""
    requests = _of_all_lengths(subject)
    tenth = len(requests) // 10
    mib = []
    async with servers.engine(subject) as engine:
        for begin in range(0, tenth * 10, tenth):
            await _send_all(engine, requests[begin : begin + tenth])
            mib.append(engine.resident_bytes / 2**20)
    print("memory after each tenth, MiB: " + " ".join(f"{each:.0f}" for each in mib))
    print(f"from the first tenth to the last of {len(requests)} requests: {(mib[-1] / mib[0] - 1):+.1%}", flush=True)


def _of_all_lengths(subject: Subject) -> list[Request]:
    """Make requests of few texts, every hundredth of many; most texts are short, some as long as the model takes."""
    draw = random.Random(2)  # noqa: S311 - a reproducible load, nothing secret
    longest = subject.model.tokenizer.max_length - 2
    requests = []
    for number in range(subject.options.requests):
        size = draw.choice((1, 1, 1, 1, 2, 4)) if number % 100 else 32
        lengths = [min(longest, int(draw.lognormvariate(3, 0.9)) + 1) for _ in range(size)]
        requests.append(subject.request([workload.text(length, number + at) for at, length in enumerate(lengths)]))
    return requests


async def _send_all(engine: Server, requests: Sequence[Request]) -> None:
    """Send every request once, some at a time. Raises ``RuntimeError`` if one fails."""
    for begin in range(0, len(requests), _AT_ONCE):
        load = Load(engine.address)
        group = requests[begin : begin + _AT_ONCE]
        await load.open_loop(group, [0.0] * len(group))
        load.close()
        failed = [record.error for record in load.records if record.error]
        if failed:
            raise RuntimeError(f"a request failed: {failed[0]}")
