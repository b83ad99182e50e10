"""Fine-tuning: which parameters are trained by which method, and the batches and losses that the loop asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch

from engines.perturbations import with_typos
from engines.train.classifier.encoder import Base, Classifier, TokenIds, padded, rows_of
from engines.train.classifier.prepare import Prepared
from engines.train.classifier.probe import loss_of
from engines.train.errors import JobError
from engines.train.loop import Score, StepLoss, batches_by_length, generator_of

Method = Literal["full", "top_layers", "lora"]

BATCH_SIZE = 32
_RATES = {"full": 1e-4, "top_layers": 4e-4, "lora": 5e-4}
_WIDTH = 384
"""The vectors' width that the rate of the upper layers was found with; wider ones learn slower by as much, as Adam's
steps add up over a row's inputs (Yang et al.: Tensor Programs V, 2022)."""

_STEP_COST = 3.0
"""Training a text takes so many times as long as embedding it: the way back computes twice what the way there does."""

_HEAD_RATE = 5.0
"""The head learns so many times faster, because it begins with less than the encoder."""

_WEIGHT_DECAY = 0.01
_LORA_RANK = 8


class Teacher(NamedTuple):
    """What a larger model answers to the training texts: logits, shape (texts, labels), softened by ``temperature``."""

    logits: Any
    temperature: float


class TextBatch(NamedTuple):
    """Texts as token ids, their labels as rows of 0 and 1, and a teacher's logits where there is one."""

    texts: list[TokenIds]
    truth: Any
    taught: Any = None


class TextCourse:
    """The examples of a job as the loop wants them; with ``augment`` half of the texts get typos, others each epoch."""

    def __init__(
        self,
        model: Any,
        base: Base,
        data: Prepared,
        *,
        batch_size: int,
        seed: int,
        augment: bool = False,
        teacher: Teacher | None = None,
    ) -> None:
        self._model = model
        self._base = base
        self._data = data
        self._size = batch_size
        self._seed = seed
        self._augment = augment
        self._teacher = teacher
        self._texts = base.tokens([example.text for example in data.training])
        self._truth = truth_of(data, validation=False)
        self._validation = base.tokens([example.text for example in data.validation])
        self._wanted = truth_of(data, validation=True)
        self.validated: Any = None
        """The logits that ``validate`` has computed last, shape (texts, labels)."""

    def batches(self, epoch: int) -> list[TextBatch]:
        """Give an epoch's batches, each of like length."""
        generator = generator_of(self._seed, epoch)
        drawn = batches_by_length([len(text) for text in self._texts], self._size, generator)
        texts = self._mistyped(epoch, generator) if self._augment else self._texts
        logits = None if self._teacher is None else self._teacher.logits
        return [
            TextBatch(
                [texts[number] for number in batch], self._truth[batch], None if logits is None else logits[batch]
            )
            for batch in drawn
        ]

    def loss(self, batch: TextBatch) -> StepLoss:
        """Compute a batch's loss: that of the labels, where there is a teacher the mean of it and of the teacher's."""
        logits = self._model(*padded(batch.texts)).float()
        loss = loss_of(logits, batch.truth, self._data.weights, multi_label=self._data.multi_label)
        if self._teacher is not None:
            softened = self._teacher.temperature
            loss = (loss + soft_loss(logits, batch.taught, softened, multi_label=self._data.multi_label)) / 2
        return StepLoss(loss, _right(logits, batch.truth, multi_label=self._data.multi_label), len(batch.texts))

    def tokens(self, batch: TextBatch) -> int:
        """Count a batch's tokens."""
        return sum(map(len, batch.texts))

    def validate(self) -> Score:
        """Measure loss and accuracy on the validation data, in float32, as it is served."""
        logits = self.validated = rows_of(self._model, self._validation, exact=True)
        loss = loss_of(logits, self._wanted, self._data.weights, multi_label=self._data.multi_label)
        right = _right(logits, self._wanted, multi_label=self._data.multi_label)
        return Score(float(loss), right / len(self._validation))

    def _mistyped(self, epoch: int, generator: Any) -> list[TokenIds]:
        chosen = torch.randint(2, (len(self._texts),), generator=generator).bool().tolist()
        examples = zip(self._data.training, chosen, strict=True)
        return self._base.tokens(
            [with_typos(example.text, self._seed + epoch) if typed else example.text for example, typed in examples]
        )


def truth_of(data: Prepared, *, validation: bool) -> Any:
    """Give the labels of the examples as a tensor of 0 and 1, shape (texts, labels)."""
    examples = data.validation if validation else data.training
    numbers = {label: number for number, label in enumerate(data.labels)}
    truth = torch.zeros(len(examples), len(data.labels))
    for row, example in enumerate(examples):
        for label in example.labels:
            truth[row, numbers[label]] = 1
    return truth


def soft_loss(logits: Any, taught: Any, temperature: float, *, multi_label: bool) -> Any:
    """Compute how far softened answers are from a teacher's: cross-entropy with both at ``temperature``.

    Multiplied by its square, the gradients are as large as those of the labels (Hinton, Vinyals, Dean: Distilling the
    Knowledge in a Neural Network, 2015).
    """
    functional = torch.nn.functional
    if multi_label:
        wanted = torch.sigmoid(taught / temperature)
        each = functional.binary_cross_entropy_with_logits(logits / temperature, wanted) * taught.shape[1]
    else:
        each = functional.cross_entropy(logits / temperature, torch.softmax(taught / temperature, dim=1))
    return each * temperature**2


def layers_of(encoder: Any) -> Any:
    """Find the list of an encoder's layers, ``None`` where there is none."""
    return next((each for each in encoder.modules() if isinstance(each, torch.nn.ModuleList)), None)


def method_for(encoder: Any, embedding: float, budget: float) -> Method:
    """Choose what to train in ``budget`` seconds where embedding all examples takes ``embedding``.

    Where there is no time for each example once, the upper half of the layers learns more: its steps cost half as much.
    """
    once = _STEP_COST * embedding <= budget
    return "full" if once or len(layers_of(encoder) or ()) < 2 else "top_layers"


def choose_parameters(model: Classifier, method: Method) -> None:
    """Let only what the method trains have gradients: everything, the upper half of the layers, or LoRA's matrices."""
    encoder = model.encoder
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad = "pooler" not in name
    if method == "top_layers":
        _freeze_lower_half(encoder)
    elif method == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=_LORA_RANK, lora_alpha=2 * _LORA_RANK, target_modules="all-linear")
        model.encoder = get_peft_model(encoder, config)


@contextmanager
def without_dropout(model: Classifier) -> Iterator[None]:
    """Train without dropout for a while, as where no text is seen twice: there is nothing to overfit to then.

    A step is a tenth shorter, as attention then needs no mask of random numbers, and each teaches more (Geiping,
    Goldstein: Cramming, 2023).
    """
    dropped = [(module, module.p) for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    for module, _ in dropped:
        module.p = 0.0
    try:
        yield
    finally:
        for module, share in dropped:
            module.p = share


def merge(model: Classifier, method: Method) -> None:
    """Make an ordinary encoder of one with LoRA's matrices."""
    if method == "lora":
        model.encoder = model.encoder.merge_and_unload()


def optimizer_of(model: Classifier, method: Method, multiplier: float) -> Any:
    """Make AdamW with the method's rates; the head has one of its own, and biases and norms do not decay.

    It is the fused one: of a step that trains all of MiniLM, the others take a third of the CPU time for themselves.
    """
    rate = _RATES[method] * multiplier
    if method == "top_layers":
        rate *= min(1.0, _WIDTH / model.head.in_features)
    trained = [parameter for parameter in model.encoder.parameters() if parameter.requires_grad]
    groups = [
        {"params": [each for each in trained if each.ndim > 1], "lr": rate, "weight_decay": _WEIGHT_DECAY},
        {"params": [each for each in trained if each.ndim < 2], "lr": rate, "weight_decay": 0.0},
        {"params": list(model.head.parameters()), "lr": _HEAD_RATE * rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def epochs_for(examples: int) -> int:
    """Say how many epochs are enough: ten for a few hundred examples, three for ten thousand, one for many."""
    return max(1, min(10, round(30_000 / max(1, examples))))


def _freeze_lower_half(encoder: Any) -> None:
    layers = layers_of(encoder)
    if layers is None or len(layers) < 2:
        raise JobError("invalid_method", "The base model has no layers to train apart; use the method full.", "method")
    frozen: Sequence[Any] = [*layers[: len(layers) // 2]]
    embeddings = [each for name, each in encoder.named_children() if "embedding" in name]
    for module in (*embeddings, *frozen):
        for parameter in module.parameters():
            parameter.requires_grad = False


def _right(logits: Any, truth: Any, *, multi_label: bool) -> int:
    """Count the texts whose labels are answered."""
    if multi_label:
        return int(((logits > 0) == (truth > 0)).all(dim=1).sum())
    return int((logits.argmax(dim=1) == truth.argmax(dim=1)).sum())
