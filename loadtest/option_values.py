"""Numbers on command lines, for ``argparse``: each says what was expected.

All raise ``argparse.ArgumentTypeError``.
"""

from __future__ import annotations

import argparse


def number(given: str, expected: str) -> float:
    """Read a number; ``expected`` is said of what is none."""
    try:
        return float(given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{given!r} is not {expected}") from None


def positive(given: str) -> float:
    """Read a number above 0, and not infinite."""
    value = number(given, "a positive number")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{given} is not a positive number")
    return value


def integer(given: str) -> int:
    """Read a whole number."""
    try:
        return int(given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{given!r} is not a whole number") from None


def count(given: str) -> int:
    """Read a whole number from 1 on."""
    value = integer(given)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{given} is not a number of at least 1")
    return value
