"""What is wrong with a configuration: every mistake at once, each with file, line, key and reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LONGEST_KEY, _LONGEST_REASON = 300, 1000
"""How many characters of a mistake are shown: what is wrong may be a name that is far too long."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration file."""

    file: Path
    key: str
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else str(self.file)
        what = f"{_cut(self.key, _LONGEST_KEY)}: " if self.key else ""
        return f"{where}: {what}{_cut(self.reason, _LONGEST_REASON)}"


class ConfigError(Exception):
    """Everything that is wrong in a configuration, all at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
