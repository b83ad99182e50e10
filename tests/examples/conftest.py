"""What tests of the examples ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.examples.fake_models import FakeModels, serving_fakes
from tests.kit.authorities import forget_authorities


@pytest.fixture(autouse=True)
def plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_authorities(monkeypatch)


@pytest.fixture
def models() -> Iterator[FakeModels]:
    with serving_fakes() as models:
        yield models


@pytest.fixture
def client(models: FakeModels) -> Iterator[OpenAI]:
    with OpenAI(base_url=models.url, api_key="unused", max_retries=0, timeout=5) as client:
        yield client
