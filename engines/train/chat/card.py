"""The card of an adapter: what it was made of and what it changed, in Markdown with a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.train import plots
from engines.train.chat.course import Judged
from engines.train.history import Row
from engines.train.job import Job


@dataclass(frozen=True, slots=True)
class Report:
    """All that the card tells; ``change`` is the greatest change of a logit by the adapter."""

    job: Job
    rank: int
    trained: int
    validated: int
    before: Judged
    after: Judged
    history: Sequence[Row]
    hyperparameters: Mapping[str, float]
    tokens: int
    seconds: Mapping[str, float]
    change: float


def write_card(report: Report, folder: Path) -> None:
    """Write ``card.md`` and its plot into a folder."""
    lines = {"training": plots.smoothed([(float(row.step), row.train_loss) for row in report.history])}
    validated = [(float(row.step), row.valid_loss) for row in report.history if row.valid_loss is not None]
    drawn = plots.curves(f"{report.job.name}: loss", lines | {"validation": validated}, x="step", y="loss")
    (folder / "loss.svg").write_text(drawn, encoding="utf-8")
    (folder / "card.md").write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """Write the card's text."""
    before, after = report.before, report.after
    times = ", ".join(f"{name} {value:.1f} s" for name, value in report.seconds.items())
    chosen = ", ".join(f"{name} {value:g}" for name, value in report.hyperparameters.items())
    return f"""\
# {report.job.name}

A LoRA adapter of rank {report.rank} on all linear layers of `{report.job.base.name}`. Job `{report.job.id}`, seed
{report.job.seed}.

## What it changed

On {report.validated} conversations that were not trained:

| | base | with the adapter |
|---|--:|--:|
| answers that are exact | {before.exact:.1%} | {after.exact:.1%} |
| tokens of the answers that are right | {before.accuracy:.1%} | {after.accuracy:.1%} |
| loss | {before.loss:.3f} | {after.loss:.3f} |

*Exact* is an answer whose every token is the likeliest after those before it: what the model says at temperature 0.

![loss](loss.svg)

## How it was made

- {report.trained} conversations were trained: {len(report.history)} steps, {report.tokens} tokens.
- Hyperparameters: {chosen}.
- Time: {times}.
- The adapter changes a logit by up to {report.change:.3g}.
"""
