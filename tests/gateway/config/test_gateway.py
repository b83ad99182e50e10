"""What ``[gateway]`` may say."""

from __future__ import annotations

import pytest

from gateway.config.load import load
from tests.gateway.config.mistakes import REMOTE, Write, mistakes


@pytest.mark.parametrize("address", ["", "8000", ":8000", "a:", "a:b", "a:65536", "a:-1", "a:²"])
def test_what_is_no_address_to_listen_on(write: Write, address: str) -> None:
    (line,) = mistakes(write(f'[gateway]\nlisten = "{address}"\n{REMOTE}'))
    assert line.startswith("models.toml:2: gateway.listen: expected HOST:PORT")


def test_certificate_and_key_belong_together(write: Write) -> None:
    assert mistakes(write(f'[gateway]\ntls_key = "key.pem"\n{REMOTE}')) == [
        "models.toml:1: gateway: tls_certificate and tls_key belong together; give both or none"
    ]


@pytest.mark.parametrize("origin", ["*", "chat.example.com", "https://a/path", "https://*.a", "null"])
def test_origins_are_explicit(write: Write, origin: str) -> None:
    (line,) = mistakes(write(f'[gateway]\ncors_origins = ["{origin}"]\n{REMOTE}'))
    assert f"gateway.cors_origins: {origin!r} is not an origin" in line


def test_fast_paths_are_taken_unless_they_are_switched_off(write: Write) -> None:
    assert load(write(REMOTE)).gateway.fast_paths is True
    assert load(write(f"[gateway]\nfast_paths = false\n{REMOTE}")).gateway.fast_paths is False
