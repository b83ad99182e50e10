"""The model card: what was measured, as JSON for programs, Markdown for people, and a plot as SVG."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import msgspec

from engines.onnx.quantize.gate import Gate, Measured


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured."""

    processor: str
    vnni: bool
    onnxruntime: str
    python: str


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that was found; ``source`` and ``graph`` are SHA-256 digests of what went in and what was promoted.

    ``data`` are the files with how many of their texts were measured and how many had a label that counts,
    ``model`` is the one that the variants were made from, ``promoted`` the name of one of these or ``None``. At most
    ``mixed`` texts got neighbours, all without a limit, and of so many ``rounds`` a batch's fastest counts; cards of
    before say neither.
    """

    name: str
    task: str
    made: str
    source: str
    graph: str | None
    machine: Machine
    data: dict[str, tuple[int, int]]
    calibration: int
    gate: Gate
    model: Measured
    variants: list[Measured]
    promoted: str | None
    mixed: int | None = None
    rounds: int = 5

    def write(self, prefix: Path) -> None:
        """Write the card with the endings ``.json``, ``.md`` and ``.svg`` after this path."""
        picture = prefix.with_name(f"{prefix.name}.svg")
        content = msgspec.json.format(msgspec.json.encode(self), indent=2)
        prefix.with_name(f"{prefix.name}.json").write_bytes(content + b"\n")
        picture.write_text(plot(self), encoding="utf-8")
        prefix.with_name(f"{prefix.name}.md").write_text(page(self, picture.name), encoding="utf-8")


def machine() -> Machine:
    """Look at the machine; what the kernel says about its processor exists on Linux only."""
    import onnxruntime  # type: ignore[import-untyped]

    file = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in file.read_text().splitlines()] if file.exists() else []
    facts = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    flags = facts.get("flags", "").split()
    vnni = any(flag in ("avx512_vnni", "avx_vnni") for flag in flags)
    return Machine(
        facts.get("model name", platform.processor() or "unknown"),
        vnni,
        onnxruntime.__version__,
        platform.python_version(),
    )


def page(card: Card, picture: str) -> str:
    """Write the card as Markdown, which shows the picture of this name."""
    labelled = sum(known for _, known in card.data.values())
    count = sum(texts for texts, _ in card.data.values())
    verdict = f"**`{card.promoted}` was promoted.**" if card.promoted else "**No variant was promoted.**"
    what = _accuracy_means(card.task, labelled, count)
    mixed = count if card.mixed is None else min(card.mixed, count)
    files = "\n".join(
        f"- `{name}`: {texts} texts, {known} of them labelled" for name, (texts, known) in card.data.items()
    )
    gate = card.gate
    return f"""\
# {card.name}: int8 variants

<!-- Written by `headgate quantize`; the numbers are in the JSON file beside this one. -->

{verdict} The gate: at least {gate.min_speedup:g} times faster, at most {gate.max_accuracy_loss:g}
points of accuracy lost, at most {gate.max_neighbour_flips:g} % of answers changed by batch neighbours,
at most {gate.max_size:g} times the size.

{_table(card)}

{what}
*Flips* are answers that differ from the model's own. *Neighbours* compares {mixed} texts alone with the same texts in
batches of eight of any lengths: answers that change, and the greatest {_shift_of(card.task)}.

![Accuracy lost against speed, with the gate]({picture})

## What each variant misses

{_misses(card)}

## Time of one batch, in milliseconds

{_times(card)}

## How it was measured

On {card.machine.processor} ({"with" if card.machine.vnni else "without"} VNNI), ONNX Runtime
{card.machine.onnxruntime}, Python {card.machine.python}, one thread, on {card.made}. Speed is that of the data's own
texts in batches of like length under 256 tokens, all models side by side, each batch's fastest of {card.rounds} rounds.
Calibrated with {card.calibration} texts that were not measured with.

Source: `sha256:{card.source}`.

{files}
"""


def plot(card: Card) -> str:
    """Draw speed against accuracy lost: a dot for each variant, and the corner that the gate leaves open."""
    width, height, left, bottom = 640, 360, 70, 50
    fastest = max(3.0, *(each.speedup for each in card.variants)) * 1.15
    losses = [each.accuracy_loss for each in card.variants]
    low, high = min(-1.0, *losses) - 0.3, max(card.gate.max_accuracy_loss + 0.5, *losses) + 0.3

    def x(speedup: float) -> float:
        return left + (width - left - 20) * speedup / fastest

    def y(loss: float) -> float:
        return 20 + (height - bottom - 20) * (loss - low) / (high - low)

    floor, edge = height - bottom, width - 20
    gate_x, gate_y = x(card.gate.min_speedup), y(card.gate.max_accuracy_loss)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="12">',
        f"<title>{escape(card.name)}: accuracy lost against speed</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<rect x="{gate_x:.1f}" y="20" width="{edge - gate_x:.1f}" height="{gate_y - 20:.1f}" fill="#dff0df"/>',
        f'<path d="M{left} 20V{floor}H{edge}" fill="none" stroke="#444444"/>',
        f'<text x="{(left + edge) / 2}" y="{height - 12}" text-anchor="middle">times faster than float32</text>',
        f'<text transform="translate(18 {floor / 2 + 10}) rotate(-90)" text-anchor="middle">'
        "points of accuracy lost</text>",
    ]
    parts += [
        f'<text x="{x(tick):.1f}" y="{floor + 16}" text-anchor="middle">{tick}</text>'
        for tick in range(1, int(fastest) + 1)
    ]
    parts += [
        f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick}</text>'
        for tick in range(int(low), int(high) + 1)
    ]
    for each in card.variants:
        colour = "#1a7f37" if not card.gate.failures(each) else "#b3261e"
        at = f'cx="{x(each.speedup):.1f}" cy="{y(each.accuracy_loss):.1f}"'
        parts.append(f'<circle {at} r="5" fill="{colour}"/>')
        parts.append(
            f'<text x="{x(each.speedup) + 8:.1f}" y="{y(each.accuracy_loss) + 4:.1f}">{escape(each.name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _table(card: Card) -> str:
    heading = (
        "",
        "MB",
        "size",
        "times faster",
        "accuracy",
        "points lost",
        "flips",
        "neighbours: flips",
        "shift",
        "gate",
    )
    lines = [_row(heading), _row(["---", *["--:"] * 8, "---"])]
    for each in (card.model, *card.variants):
        verdict = "" if each is card.model else ("missed" if card.gate.failures(each) else "passed")
        cells = [
            f"`{each.name}`",
            f"{each.bytes / 1e6:.1f}",
            f"{each.size:.2f}",
            f"{each.speedup:.2f}",
            f"{100 * each.accuracy:.2f} %",
            f"{each.accuracy_loss:+.2f}",
            f"{each.flips:.2f} %",
            f"{each.neighbour_flips:.2f} %",
            f"{each.neighbour_shift:.2g}",
            verdict,
        ]
        lines.append(_row(cells))
    return "\n".join(lines)


def _times(card: Card) -> str:
    shapes = list(card.model.shapes)
    heading = ["", *(f"{shape.replace('x', ' of ')} tokens" for shape in shapes)]
    rows = [[f"`{each.name}`", *(f"{each.shapes[s]:.1f}" for s in shapes)] for each in (card.model, *card.variants)]
    return "\n".join([_row(heading), _row(["---", *["--:"] * len(shapes)]), *map(_row, rows)])


def _misses(card: Card) -> str:
    return "\n".join(
        f"- `{each.name}`: {'; '.join(card.gate.failures(each)) or 'nothing, it passes'}." for each in card.variants
    )


def _accuracy_means(task: str, labelled: int, texts: int) -> str:
    if not labelled:
        return "No text has a label that counts here, so *accuracy* is the share of answers that are the model's own."
    if task == "classify":
        what = f"*Accuracy* is the share of {labelled} labelled texts (of {texts}) that get their label"
    else:
        what = f"*Accuracy* is the share of {labelled} labelled texts whose nearest other text has the same label"
    return f"{what}; one text is {100 / labelled:.2g} points."


def _shift_of(task: str) -> str:
    return "change of a probability" if task == "classify" else "loss of cosine"


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
