"""Whatever a client sends is either understood or refused with 400; nothing else can happen to it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.onnx.errors import BadRequest
from engines.onnx.model.model import Model
from engines.onnx.protocol.decoding import decode
from engines.onnx.protocol.requests import (
    ClassifyRequest,
    DetokenizeRequest,
    EmbedRequest,
    ModerationRequest,
    PoolingRequest,
    RerankRequest,
    ScoreRequest,
    TextRequest,
    TokenizeRequest,
)
from tests.engines.onnx.tiny import POISON, WORDS

pytestmark = pytest.mark.slow

REQUESTS: tuple[type[TextRequest], ...] = (
    ClassifyRequest,
    EmbedRequest,
    PoolingRequest,
    ScoreRequest,
    RerankRequest,
    ModerationRequest,
)

CASES = int(os.environ.get("HEADGATE_FUZZ_CASES", "1000"))
fuzz = settings(max_examples=max(100, CASES // 100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Whole requests take a hundred times as long to make as plain bytes."""

TEXT = st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
TOKEN = st.one_of(st.integers(0, len(WORDS)), st.integers())
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), TOKEN, st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=10,
)
INPUT = st.one_of(TEXT, st.lists(TEXT), st.lists(TOKEN), st.lists(st.lists(TOKEN)), VALUE)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "input": INPUT,
        "prompt": st.one_of(TEXT, VALUE),
        "tokens": st.one_of(st.lists(TOKEN), VALUE),
        "model": st.one_of(st.none(), st.just("m"), VALUE),
        "add_special_tokens": st.one_of(st.booleans(), VALUE),
        "truncate_prompt_tokens": st.one_of(st.integers(-1, 20), VALUE),
        "truncation_side": st.one_of(st.sampled_from(["left", "right"]), VALUE),
        "truncate": st.one_of(st.booleans(), st.sampled_from(["NONE", "START", "END"]), VALUE),
        "truncation": st.one_of(st.booleans(), VALUE),
        "dimensions": st.one_of(st.integers(0, 4), VALUE),
        "use_activation": st.one_of(st.booleans(), VALUE),
        "encoding_format": st.one_of(st.sampled_from(["float", "base64"]), VALUE),
        "task": st.one_of(st.sampled_from(["embed", "token_embed", "classify", "token_classify"]), VALUE),
        "return_spans": st.one_of(st.booleans(), VALUE),
        "query": st.one_of(TEXT, VALUE),
        "documents": st.one_of(st.lists(st.one_of(TEXT, st.fixed_dictionaries({"text": TEXT}))), VALUE),
        "text_1": st.one_of(TEXT, st.lists(TEXT), VALUE),
        "text_2": st.one_of(st.lists(TEXT), VALUE),
        "top_n": st.one_of(st.integers(0, 3), VALUE),
        "top_k": st.one_of(st.none(), st.integers(0, 3), VALUE),
        "return_documents": st.one_of(st.booleans(), VALUE),
        "max_tokens_per_query": st.one_of(st.integers(0, 20), VALUE),
        "max_tokens_per_doc": st.one_of(st.integers(0, 20), VALUE),
    },
)


@settings(fuzz, max_examples=CASES)
@given(body=st.binary())
def test_fuzz_any_bytes_are_read_or_refused(body: bytes) -> None:
    for kind in REQUESTS:
        with suppress(BadRequest):
            decode(body, kind)
    with suppress(BadRequest):
        decode(body, TokenizeRequest)
    with suppress(BadRequest):
        decode(body, DetokenizeRequest)


@fuzz
@given(fields=BODY, model=st.sampled_from(["classifier", "embedder", "cross_encoder", "token_classifier"]))
def test_fuzz_any_texts_fit_the_model_and_get_an_answer(
    request: pytest.FixtureRequest, fields: dict[str, Any], model: str
) -> None:
    loaded: Model = request.getfixturevalue(model)
    for endpoint in loaded.endpoints.values():
        with suppress(BadRequest):
            plan = endpoint.plan(decode(json.dumps(fields).encode(), endpoint.request_type))
            assert all(1 <= len(text) <= loaded.tokenizer.max_length for text in plan.texts)
            assert all(0 <= token < len(WORDS) for text in plan.texts for token in text)
            if not any(POISON in text for text in plan.texts):
                assert msgspec.json.encode(plan.respond(list(loaded.compute(plan.texts)), "a"))


@fuzz
@given(fields=BODY)
def test_fuzz_any_prompt_has_tokens_and_any_tokens_a_text(embedder: Model, fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    with suppress(BadRequest):
        ids, strings = embedder.tokenizer.tokenize(decode(body, TokenizeRequest))
        assert len(ids) == len(strings)
    with suppress(BadRequest):
        embedder.tokenizer.detokenize(decode(body, DetokenizeRequest).tokens)
