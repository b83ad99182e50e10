"""A gateway in front of a tiny classifier that tells good texts from bad ones, and of a tiny embedder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from engines.onnx.model.model import load
from tests.engines.onnx.running_server import serving
from tests.engines.onnx.tiny import write_classifier, write_embedder
from tests.kit.gateways import RunningGateway, gateway, remote


@asynccontextmanager
async def good_or_bad(folder: Path, **settings: Any) -> AsyncIterator[RunningGateway]:
    """Serve the classifier as ``judge`` and the embedder as ``vectors``."""
    for name in ("judge", "vectors"):
        (folder / name).mkdir()
    judge = load("judge", write_classifier(folder / "judge"), "classify")
    vectors = load("vectors", write_embedder(folder / "vectors"), "embed")
    async with AsyncExitStack() as stack:
        models = {}
        for model, tasks in ((judge, ["classify"]), (vectors, ["embed", "suggest"])):
            server = await stack.enter_async_context(serving(model))
            models[model.name] = remote(server.address, tasks=tasks)
        yield await stack.enter_async_context(gateway(models, **settings))
