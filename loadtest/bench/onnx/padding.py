"""How much of what the engine computes is padding."""

from __future__ import annotations

from loadtest.bench.onnx import servers
from loadtest.bench.onnx.closed_loop import closed_loop
from loadtest.bench.onnx.subject import MODEL, Subject
from loadtest.http_client import fetch

_PREFIX = "headgate_onnx_"


async def measure(subject: Subject) -> None:
    """Print the share of real tokens among those that were computed."""
    async with servers.engine(subject) as engine:
        await closed_loop([engine], subject.requests(), subject.options.clients, subject.options.seconds)
        counted = _series((await fetch(engine.address, "/metrics")).decode())
    real, computed = (counted[f'tokens_total{{kind="{kind}",model="{MODEL}"}}'] for kind in ("real", "computed"))
    print(f"real tokens / computed tokens: {real / computed:.3f} ({real:.0f} of {computed:.0f})", flush=True)


def _series(page: str) -> dict[str, float]:
    """Read the engine's own series, without the prefix of all."""
    lines = (line.removeprefix(_PREFIX).rpartition(" ") for line in page.splitlines() if line.startswith(_PREFIX))
    return {name: float(value) for name, _, value in lines}
