"""Whose key: finds the key that a request carries, and says what it may use."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from hashlib import sha256
from math import inf

from gateway.core.errors import EndpointNotAllowed, ExpiredKey, InvalidKey, ModelNotAllowed, TuningNotAllowed
from gateway.core.limits import KeyLimits, key_owner


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the gateway knows it: its id for logs, and what it may do; never the key.

    ``models`` and ``endpoints`` are those that it may use, all of them if empty. ``group`` names those keys that share
    limits and count as one tenant; by default a key is a group by itself. ``priority`` is a class for admission: lower
    numbers come first, as in vLLM. ``expires`` is the first day, in UTC, on which it no longer works. ``tune`` says
    whether it may make fine-tuning jobs.
    """

    id: str
    models: frozenset[str]
    group: str = ""
    priority: int = 0
    endpoints: frozenset[str] = frozenset()
    expires: date | None = None
    tune: bool = False
    expires_at: float = field(init=False, default=inf)
    """The same as seconds since 1970, infinite if it never expires."""
    limits: KeyLimits | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.id)
        if self.expires is not None:
            object.__setattr__(self, "expires_at", datetime.combine(self.expires, time(), UTC).timestamp())

    @property
    def owner(self) -> str:
        """What the key is called as an owner of limits."""
        return key_owner(self.id)

    def may_use(self, model: str) -> bool:
        """Whether this key may use the model."""
        return not self.models or model in self.models

    def not_allowed(self, name: str) -> ModelNotAllowed:
        """Give the error for a name that this key may not use, whether there is such a model or not."""
        allowed = ", ".join(sorted(self.models))[:1000]
        return ModelNotAllowed(
            f"The {self.owner} may not use a model {name[:200]!r}; it may use: {allowed}.", param="model"
        )

    def not_allowed_at(self, endpoint: str) -> EndpointNotAllowed:
        """Give the error for an endpoint that this key may not use."""
        allowed = ", ".join(sorted(self.endpoints))
        return EndpointNotAllowed(f"The {self.owner} may not use {endpoint}; it may use: {allowed}.")

    def check_tune(self) -> None:
        """Raise ``TuningNotAllowed`` unless this key may make fine-tuning jobs."""
        if not self.tune:
            raise TuningNotAllowed(f"The {self.owner} may not fine-tune models; its operator can give it tune = true.")

    def expired(self) -> ExpiredKey:
        """Give the error for a key whose time is up."""
        return ExpiredKey(f"The {self.owner} expired on {self.expires}; ask the operator of this gateway for one.")


ANYONE = Key("", frozenset(), tune=True)
"""The key of every request where no keys are configured."""


class Keyring:
    """Keys by their SHA-256. An empty ring lets everyone in."""

    def __init__(self, keys: Iterable[tuple[Key, str]]) -> None:
        self._keys = {bytes.fromhex(digest): (bytes.fromhex(digest), key) for key, digest in keys}

    def __repr__(self) -> str:
        return f"<Keyring [{len(self._keys)} keys]>"

    def __iter__(self) -> Iterator[Key]:
        return (key for _, key in self._keys.values())

    def find(self, headers: Mapping[bytes, bytes]) -> Key:
        """Return the key in ``authorization: Bearer …``, Anthropic's ``x-api-key`` or Azure's ``api-key``.

        Clients often send two of these, with a placeholder in the other one, so the first known key counts. Raises
        ``InvalidKey`` if none of them holds one.
        """
        if not self._keys:
            return ANYONE
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        is_bearer = scheme.lower() == b"bearer"
        given = [token if is_bearer else b"", headers.get(b"x-api-key", b""), headers.get(b"api-key", b"")]
        secrets = [secret for each in given if (secret := each.strip())]
        for secret in secrets:
            digest = sha256(secret).digest()
            known = self._keys.get(digest)
            if known is not None and hmac.compare_digest(known[0], digest):
                return known[1]
        if secrets:
            raise InvalidKey("This API key is not known here; ask the operator of this gateway for one.")
        if scheme and not is_bearer:
            raise InvalidKey("The header authorization must be 'Bearer ' and an API key.")
        raise InvalidKey("No API key was given; send it as 'authorization: Bearer YOUR_KEY'.")
