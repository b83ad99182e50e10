"""How far each tenant of a pool has been served, in tokens: the virtual time by which a fair queue orders."""

from __future__ import annotations

from typing import Protocol
from zlib import crc32

TENANT_TAGS = 128
"""How many tags all tenants of a pool share, however many tenants there are."""

TAGS = 1 + TENANT_TAGS


class Tags(Protocol):
    """``TAGS`` whole numbers, all 0 at first, which several processes may share."""

    def __getitem__(self, at: int, /) -> int:
        """Read one."""

    def __setitem__(self, at: int, value: int, /) -> None:
        """Write a larger one."""


class VirtualTime:
    """The virtual time of start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queueing", 1996).

    It is the start tag of the request that was served last: how many tokens a tenant has got that was never without
    a waiting request. A tenant's next request starts where its last one has finished, or now if that has passed.

    Tenants are hashed to two of the tags, and the lower one counts, as in a count-min sketch (Cormode and
    Muthukrishnan, 2005). So memory is bounded, two tenants are taken for one only where both tags are the same, and
    however many tenants come, they cannot keep virtual time from going on.
    """

    __slots__ = ("_tags",)

    def __init__(self, tags: Tags | None = None) -> None:
        self._tags: Tags = [0] * TAGS if tags is None else tags

    def __repr__(self) -> str:
        return f"<VirtualTime [{self.now} tokens]>"

    @property
    def now(self) -> int:
        """The highest start tag that was served, in tokens."""
        return self._tags[0]

    def charged(self, tenant: str) -> int:
        """Give the finish tag of the tenant's request that was served last."""
        first, second = _places(tenant)
        return min(self._tags[first], self._tags[second])

    def start(self, tenant: str) -> int:
        """Give the start tag of a request that becomes the tenant's first one now."""
        return max(self._tags[0], self.charged(tenant))

    def serve(self, tenant: str, start: int, tokens: int) -> None:
        """Charge a tenant with a request that is served now and had this start tag."""
        tags = self._tags
        for at in _places(tenant):
            tags[at] = max(tags[at], start + tokens)
        tags[0] = max(tags[0], start)


def _places(tenant: str) -> tuple[int, int]:
    """Give the places of a tenant's tags, the same in every process."""
    digest = crc32(tenant.encode("utf-8", "surrogatepass"))
    return 1 + digest % TENANT_TAGS, 1 + (digest >> 16) % TENANT_TAGS
