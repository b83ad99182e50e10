"""``python -m gateway`` is the command ``headgate``."""

from __future__ import annotations

from gateway.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
