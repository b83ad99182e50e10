"""What keys and groups have used of their limits: shared with other nodes, and forgotten by command."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config.schema import Config
from gateway.core.limits import group_owner
from gateway.core.start_error import StartError
from gateway.plane import Plane
from gateway.shared_limits.sharing import NoClient, Sharing


class KeyUsage:
    """The usage of all keys of a plane, and that of other nodes, where there is a Redis for that.

    ``say`` takes lines for people. Raises ``StartError``.
    """

    def __init__(self, config: Config, plane: Plane, say: Callable[[str], None]) -> None:
        self._plane = plane
        self._groups = frozenset(config.gateway.groups)
        self._sharing = self._share(config, say)

    def __repr__(self) -> str:
        return f"<KeyUsage {self._plane.usage!r} {self._sharing!r}>"

    def follow(self, config: Config) -> None:
        """Go by the keys and groups of another configuration, which the plane has taken over."""
        self._groups = frozenset(config.gateway.groups)
        if self._sharing is not None:
            self._sharing.follow(self._plane.keyring)

    def reset_key(self, name: str) -> bool:
        """Forget what a key has used of its own limits; return whether there is such a one."""
        key = next((key for key in self._plane.keyring if key.id == name), None)
        if key is not None and key.limits is not None:
            key.limits.clear(key.owner)
            self._reset_elsewhere(key.owner)
        return key is not None

    def reset_group(self, name: str) -> bool:
        """Forget what the keys of a group have used of its limits, and return whether there is such a one.

        What each key has used of its own limits stays.
        """
        if name not in self._groups:
            return False
        owner = group_owner(name)
        limits = (key.limits for key in self._plane.keyring if key.limits is not None)
        # All keys of the group have its one quota in common.
        shared = next((each for each in limits if any(quota.owner == owner for quota in each.quotas)), None)
        if shared is not None:
            shared.clear(owner)
            self._reset_elsewhere(owner)
        return True

    async def start(self) -> None:
        """Begin to share; return when it is known what other nodes have used, or that Redis does not answer."""
        if self._sharing is not None:
            await self._sharing.start()

    async def stop(self) -> None:
        """Share no more; harmless before the start."""
        if self._sharing is not None:
            await self._sharing.stop()

    def _share(self, config: Config, say: Callable[[str], None]) -> Sharing | None:
        settings, exposition = config.gateway.redis, self._plane.exposition
        if settings is None:
            return None

        def changed(shared: bool) -> None:
            exposition.limits_shared = shared

        changed(False)
        try:
            sharing = Sharing(settings, self._plane.usage.sharing, say, changed)
        except NoClient as error:
            raise StartError(str(error)) from None
        sharing.follow(self._plane.keyring)
        return sharing

    def _reset_elsewhere(self, owner: str) -> None:
        """Let other nodes forget what an owner of limits has used."""
        if self._sharing is not None:
            self._sharing.reset(owner)
