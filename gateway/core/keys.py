"""Whose key: finds the key that a request carries, and says which models it may use."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from gateway.core.errors import InvalidKey, ModelNotAllowed


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the gateway knows it: its id for logs, the models it may use (all of them if empty); never the key."""

    id: str
    models: frozenset[str]

    def check(self, model: str) -> None:
        """Refuse a model that this key may not use. Raises ``ModelNotAllowed``."""
        if self.models and model not in self.models:
            raise ModelNotAllowed(f"The key {self.id!r} may not use the model {model!r}.", param="model")

    def may_use(self, model: str) -> bool:
        """Whether this key may use the model."""
        return not self.models or model in self.models


ANYONE = Key("", frozenset())
"""Who asks where no keys are configured."""


class Keyring:
    """Keys by their SHA-256. An empty ring lets everyone in."""

    def __init__(self, keys: Iterable[tuple[Key, str]]) -> None:
        self._keys = {bytes.fromhex(digest): (bytes.fromhex(digest), key) for key, digest in keys}

    def __repr__(self) -> str:
        return f"<Keyring [{len(self._keys)} keys]>"

    def find(self, headers: Mapping[bytes, bytes]) -> Key:
        """Return the key in ``authorization: Bearer …``, or in Anthropic's ``x-api-key``. Raises ``InvalidKey``."""
        if not self._keys:
            return ANYONE
        authorization = headers.get(b"authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(b" ")
            if scheme.lower() != b"bearer":
                raise InvalidKey("The header authorization must be 'Bearer ' and an API key.")
        else:
            secret = headers.get(b"x-api-key", b"")
        secret = secret.strip()
        if not secret:
            raise InvalidKey("No API key was given; send it as 'authorization: Bearer YOUR_KEY'.")
        digest = sha256(secret).digest()
        known = self._keys.get(digest)
        if known is None or not hmac.compare_digest(known[0], digest):
            raise InvalidKey("This API key is not known here; ask the operator of this gateway for one.")
        return known[1]
