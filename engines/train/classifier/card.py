"""The card of a trained classifier: what it was made of and how good it is, in Markdown with plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.robustness import points_lost, table
from engines.train import plots
from engines.train.classifier.int8 import Int8
from engines.train.classifier.prepare import Prepared
from engines.train.classifier.robustness import Robustness
from engines.train.classifier.scores import Scores, Shrunk
from engines.train.history import Row
from engines.train.job import Job

_WORST = 10
_PROBE = "the probe, which saw no typos"
_BESIDE = """

The model learned with typos in half of its texts (`augment`). The probe is the linear head on the frozen encoder where
its training began: it saw no typos, but was not fine-tuned either. What the typos alone have done, a second job without
`augment` tells; `headgate probe MODEL MODEL --data FILE` puts both side by side."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that the card tells. Accuracies are shares; ``fine_tuned`` is ``None`` where only the probe was trained.

    ``kept`` says which of the two became the model; ``seconds`` name what took how long; ``difference`` is the
    greatest one between a logit in ONNX Runtime and in training.
    """

    job: Job
    data: Prepared
    method: str
    kept: str
    probe: float
    fine_tuned: float | None
    scores: Scores
    robustness: Robustness
    history: Sequence[Row]
    hyperparameters: Mapping[str, float]
    tokens: int
    seconds: Mapping[str, float]
    difference: float
    int8: Int8 | None
    shrunk: Shrunk | None = None
    """What ``prune`` or ``distill`` has made of the model."""


def write_card(report: Report, folder: Path) -> None:
    """Write ``card.md`` and its plots into a folder."""
    name = report.job.name
    pictures = {"calibration.svg": plots.calibration(f"{name}: calibration", _bins(report.scores))}
    if report.scores.confusion:
        pictures["confusion.svg"] = plots.confusion(f"{name}: confusion", report.data.labels, report.scores.confusion)
    if report.history:
        pictures["loss.svg"] = plots.curves(f"{name}: loss", _losses(report.history), x="step", y="loss")
    for file, drawn in pictures.items():
        (folder / file).write_text(drawn, encoding="utf-8")
    changed = plots.grouped_bars(f"{name}: accuracy on changed texts", "%", _accuracies(report.robustness))
    (folder / "robustness.svg").write_text(changed, encoding="utf-8")
    (folder / "card.md").write_text(page(report, sorted(pictures)), encoding="utf-8")


def page(report: Report, pictures: Sequence[str]) -> str:
    """Write the card's text, which shows the pictures of these names."""
    data, scores = report.data, report.scores
    fine_tuned = "not trained" if report.fine_tuned is None else f"{report.fine_tuned:.1%}"
    shown = "\n\n".join(f"![{file.removesuffix('.svg')}]({file})" for file in pictures)
    notes = "".join(f"- {note}\n" for note in data.notes)
    chosen = ", ".join(f"{name} {value:g}" for name, value in report.hyperparameters.items())
    smaller = "" if report.shrunk is None else ", made smaller"
    times = ", ".join(f"{name} {value:.1f} s" for name, value in report.seconds.items())
    return f"""\
# {report.job.name}

A classifier of {len(data.labels)} labels, made of `{report.job.base.name}` by the method `{report.method}`;
what answers is the {report.kept}{smaller}. Job `{report.job.id}`, seed {report.job.seed}.

## How good it is

On {len(data.validation)} examples that were not trained:

| | |
|---|--:|
| accuracy{" (all labels of a text right)" if data.multi_label else ""} | {scores.accuracy:.1%} |
| macro-F1 | {scores.macro_f1:.3f} |
| calibration error (ECE) | {scores.ece:.3f} |
| accuracy of the probe | {report.probe:.1%} |
| accuracy of the fine-tuned model | {fine_tuned} |

{_weakest(report)}
{shown}

## How robust it is

{_robust(report.robustness)}

![robustness](robustness.svg)
{_shrunk(report)}
## The int8 variant

{_int8(report.int8)}

## How it was made

- {len(data.training)} examples were trained: {len(report.history)} steps, {report.tokens} tokens.
- Hyperparameters: {chosen}.
- Time: {times}.
- In ONNX Runtime no logit differs from training by more than {report.difference:.2g}.
{notes}"""


def _weakest(report: Report) -> str:
    """List the labels with the lowest F1, where there are so many that the table does not show them."""
    ranked = sorted(zip(report.scores.f1, report.data.labels, strict=True))[:_WORST]
    rows = "".join(f"| {label.replace('|', chr(92) + '|')} | {f1:.3f} |\n" for f1, label in ranked)
    return f"The labels with the lowest F1:\n\n| label | F1 |\n|---|--:|\n{rows}"


def _robust(found: Robustness) -> str:
    """Write the table of the changed texts, with the probe's columns where it stands beside the model."""
    lines, note = table(found.rows), ""
    if found.probe is not None:
        heads = [f" {_PROBE} | its points lost |", "--:|--:|"]
        cells = [
            f" {100 * row.accuracy:.1f} % | {lost} |"
            for row, lost in zip(found.probe, points_lost(found.probe), strict=True)
        ]
        lines = [line + more for line, more in zip(lines, [*heads, *cells], strict=True)]
        note = _BESIDE
    return (
        f"On {found.texts} of these examples, as they are written and changed, in float32; one text is "
        f"{100 / found.texts:.2g} points.\n*Answers changed* is a share of the texts that were *changed*.\n\n"
        + "\n".join(lines)
        + note
    )


def _accuracies(found: Robustness) -> dict[str, dict[str, float]]:
    series = {"this model": found.rows} | ({} if found.probe is None else {_PROBE: found.probe})
    return {name: {row.name: 100 * row.accuracy for row in rows} for name, rows in series.items()}


def _shrunk(report: Report) -> str:
    """Write the section of a model that was made smaller."""
    if report.shrunk is None:
        return ""
    before, after, left = report.shrunk
    how = "pruning it" if report.job.prune is not None else "distilling it into a student"
    return f"""
## What smaller costs

The model above was made of the {report.kept} by {how}; {left} are left, and were trained on.

| | before | after |
|---|--:|--:|
| accuracy | {before.accuracy:.1%} | {after.accuracy:.1%} |
| parameters | {before.parameters:,} | {after.parameters:,} |
| size in float32, MB | {before.megabytes:.1f} | {after.megabytes:.1f} |
| ms for a text alone, median | {before.milliseconds:.2f} | {after.milliseconds:.2f} |
"""


def _int8(found: Int8 | None) -> str:
    if found is None:
        return "There is none."
    verdict = "It is served." if found.promoted else "It did not pass the gate, so the model is served in float32."
    return (
        f"{verdict} Against float32 it is {found.speedup:.2f} times as fast and {found.size:.2f} times as large, loses "
        f"{found.accuracy_loss:.2f} points of accuracy, and answers {found.flips:.2f} % of texts differently."
    )


def _bins(scores: Scores) -> list[tuple[float, float, int]]:
    return [(each.confidence, each.accuracy, each.count) for each in scores.bins]


def _losses(history: Sequence[Row]) -> dict[str, list[plots.Point]]:
    lines = {"training": plots.smoothed([(float(row.step), row.train_loss) for row in history])}
    validated = [(float(row.step), row.valid_loss) for row in history if row.valid_loss is not None]
    return lines | ({"validation": validated} if validated else {})
