"""A model's folder: which files it must hold, and what those that may be there prescribe."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from engines.onnx.errors import ModelError


class CrossEncoderConfig(msgspec.Struct, frozen=True):
    """What sentence-transformers adds to the ``config.json`` of a cross-encoder."""

    activation_fn: str | None = None


class ModelConfig(msgspec.Struct, frozen=True):
    """``config.json``, as transformers writes it; the fields that matter here."""

    id2label: dict[int, str] = msgspec.field(default_factory=dict)
    problem_type: str | None = None
    max_position_embeddings: int | None = None
    is_matryoshka: bool = False
    matryoshka_dimensions: list[int] | None = None
    sentence_transformers: CrossEncoderConfig | None = None
    sbert_ce_default_activation_function: str | None = None

    @property
    def activation(self) -> str | None:
        """The name of the function that sentence-transformers applies to a cross-encoder's number."""
        named = self.sentence_transformers.activation_fn if self.sentence_transformers else None
        return named or self.sbert_ce_default_activation_function


class TokenizerConfig(msgspec.Struct, frozen=True):
    """``tokenizer_config.json``; where nothing limits the length, transformers writes a number beyond reason."""

    model_max_length: float | None = None


class SentenceConfig(msgspec.Struct, frozen=True):
    """``sentence_bert_config.json``, as sentence-transformers writes it."""

    max_seq_length: int | None = None


class PoolingConfig(msgspec.Struct, frozen=True):
    """``1_Pooling/config.json``, as sentence-transformers writes it; without the file the mean is taken."""

    pooling_mode_mean_tokens: bool = True
    pooling_mode_cls_token: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    pooling_mode_lasttoken: bool = False

    @property
    def modes(self) -> list[str]:
        """The names of the modes that are on."""
        return [field.removeprefix("pooling_mode_") for field in self.__struct_fields__ if getattr(self, field)]


class Module(msgspec.Struct, frozen=True):
    """One step of ``modules.json``, as sentence-transformers writes it."""

    type: str


Content = TypeVar("Content")


class ModelFolder:
    """The files of one model. Reading an absent one gives its defaults, reading a broken one a ``ModelError``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise ModelError(path, "no such folder")

    @property
    def graph(self) -> Path:
        """The ONNX file; its external data, if any, lies beside it."""
        return self.path / "model.onnx"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer, in the format of the tokenizers library."""
        return self.path / "tokenizer.json"

    @property
    def config(self) -> ModelConfig:
        """What the model is."""
        return self._read("config.json", ModelConfig) or ModelConfig()

    @property
    def labels(self) -> list[str]:
        """The classes' names in the graph's order; none where ``config.json`` has none."""
        names = self.config.id2label
        if sorted(names) != list(range(len(names))):
            numbers = ", ".join(map(str, sorted(names)))
            raise ModelError(self.path / "config.json", f"id2label must number the classes from 0 on, not {numbers}")
        return [names[index] for index in sorted(names)]

    @property
    def pooling(self) -> PoolingConfig:
        """How token vectors become one vector."""
        return self._read("1_Pooling/config.json", PoolingConfig) or PoolingConfig()

    @property
    def normalizes(self) -> bool:
        """Whether vectors are scaled to length 1: yes, unless ``modules.json`` lists steps without it."""
        modules = self._read("modules.json", list[Module])
        return modules is None or any(module.type.endswith(".Normalize") for module in modules)

    @property
    def max_length(self) -> int | None:
        """The greatest number of tokens that all files allow, ``None`` where none says anything."""
        sentence = self._read("sentence_bert_config.json", SentenceConfig) or SentenceConfig()
        tokenizer = self._read("tokenizer_config.json", TokenizerConfig) or TokenizerConfig()
        limits = (sentence.max_seq_length, tokenizer.model_max_length, self.config.max_position_embeddings)
        given = [limit for limit in limits if limit]
        return int(min(given)) if given and min(given) < _BEYOND_REASON else None

    def _read(self, name: str, kind: type[Content]) -> Content | None:
        file = self.path / name
        try:
            return msgspec.json.decode(file.read_bytes(), type=kind, strict=False)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(file, str(error)) from error


_BEYOND_REASON = 1_000_000_000
