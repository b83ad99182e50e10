"""The base is loaded without running any code of it, and texts become vectors whatever batch they are in."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import pytest

from tests.engines.train.tiny_models import needed, write_encoder

torch = needed()

from engines.train.classifier.encoder import Base, Classifier, growing_rows, padded, rows_of, rows_until  # noqa: E402
from engines.train.errors import JobError  # noqa: E402

pytestmark = pytest.mark.slow

TEXTS = ["good film", "bad", "the film was great and the plot was fine", "poor actor"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder")


def classifier(base: Base) -> Any:
    return Classifier(base.model, base.width, 3, cls=base.cls).eval()


def test_a_text_has_the_same_vector_in_any_batch(folder: Path) -> None:
    base = Base(folder)
    model, texts = classifier(base), base.tokens(TEXTS)
    together = rows_of(model.embed, texts, exact=True)
    alone = torch.cat([rows_of(model.embed, [text], exact=True) for text in texts])
    assert torch.allclose(together, alone, atol=1e-6)
    assert together.shape == (4, base.width)


def test_the_mean_leaves_padding_out_and_the_first_token_can_stand_for_a_text(folder: Path) -> None:
    base = Base(folder)
    ids, mask = padded(base.tokens(TEXTS))
    with torch.inference_mode():
        states = base.model(input_ids=ids, attention_mask=mask)[0]
        mean = Classifier(base.model, base.width, 2, cls=False).embed(ids, mask)
        first = Classifier(base.model, base.width, 2, cls=True).embed(ids, mask)
    assert torch.allclose(mean[1], states[1, : int(mask[1].sum())].mean(0), atol=1e-6)
    assert torch.equal(first, states[:, 0])


def test_the_head_begins_at_zero(folder: Path) -> None:
    base = Base(folder)
    assert rows_of(classifier(base), base.tokens(TEXTS)).abs().max() == 0


def test_long_texts_are_cut(folder: Path) -> None:
    base = Base(folder)
    assert base.max_length == 40
    assert len(base.tokens(["good " * 100])[0]) == 40


def test_progress_is_told(folder: Path) -> None:
    base = Base(folder)
    told: list[float] = []
    rows_of(classifier(base).embed, base.tokens(TEXTS), told.append)
    assert told[-1] == 1.0


def test_some_rows_are_computed_however_late_it_is_and_each_belongs_to_its_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.train.classifier.encoder._AT_ONCE", 2)
    base = Base(folder)
    model = classifier(base)
    texts = base.tokens(["good", "bad film", "a good film", "bad", "film"])
    some, numbers = rows_until(model.embed, texts, 0.0, 7)
    assert len(some) == len(numbers) == 2
    every, order = rows_until(model.embed, texts, inf, 7)
    assert (sorted(order), order[:2]) == ([0, 1, 2, 3, 4], numbers)
    assert torch.allclose(every, rows_of(model.embed, [texts[number] for number in order]), atol=1e-5)


def test_rows_are_given_each_time_that_there_are_twice_as_many_and_in_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.train.classifier.encoder._AT_ONCE", 1)
    base = Base(folder)
    model = classifier(base)
    texts = base.tokens(["good", "bad film", "a good film", "bad", "film", "plot", "actor"])
    shares: list[float] = []
    portions = list(growing_rows(model.embed, texts, 2, inf, 7, shares.append))
    assert [len(portion.numbers) for portion in portions] == [len(portion.rows) for portion in portions] == [2, 4, 7]
    assert portions[1].numbers == portions[2].numbers[:4]
    assert shares == [count / 7 for count in range(1, 8)]
    assert 0 < portions[0].seconds < portions[1].seconds < portions[2].seconds
    late = list(growing_rows(model.embed, texts, 4, 0.0, 7))
    assert [len(portion.numbers) for portion in late] == [1]


def test_the_pooling_of_the_folder_is_respected(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    pooling = folder / "1_Pooling" / "config.json"
    pooling.parent.mkdir()
    pooling.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    assert Base(folder).cls
    pooling.write_text('{"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": false}')
    with pytest.raises(JobError, match="pools by max_tokens; expected the mean or the first token"):
        Base(folder)


def test_pickles_are_refused(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(JobError, match=r"no weights in safetensors; pytorch_model\.bin is a pickle"):
        Base(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write_encoder(tmp_path) / name).unlink()
    with pytest.raises(JobError, match=f"has no {name}"):
        Base(tmp_path)


def test_broken_weights_are_told(tmp_path: Path) -> None:
    (write_encoder(tmp_path) / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(JobError, match="cannot be loaded"):
        Base(tmp_path)
