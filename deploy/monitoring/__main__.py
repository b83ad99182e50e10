"""``python -m deploy.monitoring`` writes the files; with ``--check`` it only tells which of them are out of date."""

from __future__ import annotations

import argparse
import sys

from deploy.monitoring.files import FOLDER, stale, write


def main() -> int:
    """Write or check the files; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.monitoring", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    if not parser.parse_args().check:
        write(FOLDER)
        return 0
    for path in (found := stale(FOLDER)):
        print(f"deploy/{path} is out of date: make docs")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
