"""A gateway in front of a tiny classifier that tells good texts from bad ones, and of a tiny embedder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from engines.onnx.model.model import load
from tests.engines.onnx.running_server import serving
from tests.engines.onnx.tiny import write_classifier, write_embedder
from tests.kit.gateways import RunningGateway, gateway, remote


@asynccontextmanager
async def good_or_bad(
    folder: Path, *, classifiers: Sequence[str] = ("judge",), **settings: Any
) -> AsyncIterator[RunningGateway]:
    """Serve the classifier under each of the names ``classifiers``, and the embedder as ``vectors``."""
    for name in (*classifiers, "vectors"):
        (folder / name).mkdir()
    judges = [(load(name, write_classifier(folder / name), "classify"), ["classify"]) for name in classifiers]
    vectors = load("vectors", write_embedder(folder / "vectors"), "embed")
    async with AsyncExitStack() as stack:
        models = {}
        for model, tasks in (*judges, (vectors, ["embed", "suggest"])):
            server = await stack.enter_async_context(serving(model))
            models[model.name] = remote(server.address, tasks=tasks)
        yield await stack.enter_async_context(gateway(models, **settings))
