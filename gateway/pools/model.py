"""A model as clients see it: its names, what it can do, what is rewritten of its requests, and its pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gateway.config.models import GuardTable
from gateway.pools.pool import Pool


class Model:
    """One name that clients may ask for, and the pool that answers.

    Several models may have one pool, as the adapters of one base model have: its replicas are probed once, and their
    requests share its limit, its queue and its counts.
    """

    __slots__ = (
        "_observers",
        "aliases",
        "cache_salt",
        "fallback",
        "guard",
        "max_model_len",
        "name",
        "pool",
        "recovery",
        "required",
        "send_priority",
        "slo",
        "tasks",
        "upstream_name",
    )

    def __init__(
        self,
        name: str,
        pool: Pool,
        *,
        tasks: Iterable[str],
        upstream_name: str | None = None,
        aliases: Iterable[str] = (),
        required: bool = True,
        send_priority: bool = False,
        cache_salt: bool = False,
        guard: GuardTable | None = None,
        fallback: Iterable[str] = (),
        recovery: bool = False,
        slo: Mapping[str, float] | None = None,
    ) -> None:
        self.name = name
        self.pool = pool
        self.tasks = frozenset(tasks)
        self.upstream_name = upstream_name or name
        """The model's name at its engines, which requests are rewritten to."""
        self.aliases = tuple(aliases)
        self.required = required
        self.send_priority = send_priority
        self.cache_salt = cache_salt
        self.recovery = recovery
        """Whether another replica goes on with a stream whose replica dies."""
        self.fallback = tuple(fallback)
        """The models that take its place, in this order, where it has no capacity, fails, or cannot take so much."""
        self.guard = guard
        """The classifier that looks at each request first, if there is one."""
        self.slo = slo or {}
        """How quickly it is to answer: seconds by ``ttft``, ``tpot`` and ``e2e``, as far as that is said."""
        self.max_model_len: int | None = None
        """How many tokens a request may have, as an engine's model card says; ``None`` as long as none does."""
        self._observers: tuple[Callable[[Model], None], ...] = ()

    def __repr__(self) -> str:
        return f"<Model {self.name!r} as {self.upstream_name!r} at {self.pool!r}>"

    def observe(self, changed: Callable[[Model], None]) -> None:
        """Call ``changed`` from now on whenever ``max_model_len`` is another."""
        self._observers = (*self._observers, changed)

    def set_max_model_len(self, max_model_len: int | None) -> None:
        """Take over how many tokens a request may have."""
        if max_model_len != self.max_model_len:
            self.max_model_len = max_model_len
            for changed in self._observers:
                changed(self)
