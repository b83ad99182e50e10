"""Clients that need not know whom to trust."""

from __future__ import annotations

import pytest


def forget_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clients of a test trust nobody: they ask over plain HTTP alone.

    Each client of an SDK loads all certificate authorities of the machine when it is made, which takes it 25 ms.
    """
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", "/nobody")
