"""A model as clients see it: its names, what it can do, what is rewritten of its requests, and its pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gateway.config.canary import CanaryTable
from gateway.config.guard import GuardTable
from gateway.pools.pool import Pool


class Model:
    """One name that clients may ask for, and the pool that answers.

    Several models may have one pool, as the adapters of one base model have: its replicas are probed once, and their
    requests share its limit, its queue and its counts.
    """

    __slots__ = (
        "_observers",
        "adapter",
        "aliases",
        "cache_salt",
        "canary",
        "explains",
        "fallback",
        "guard",
        "max_model_len",
        "name",
        "parent",
        "pool",
        "recovery",
        "required",
        "root",
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
        canary: CanaryTable | None = None,
        explains: bool = True,
        parent: Model | None = None,
        root: str | None = None,
    ) -> None:
        self.name = name
        self.pool = pool
        self.tasks = frozenset(tasks)
        self.upstream_name = upstream_name or name
        """The model's name at its engines, which requests are rewritten to."""
        self.aliases = tuple(aliases)
        self.required = required
        self.parent = parent
        """The model that this is a LoRA adapter of, if it is one."""
        self.adapter = None if parent is None else self.upstream_name
        """What its requests need loaded where they are sent, if it is an adapter."""
        self.root = root or name
        """What it is made of: its own name, or an adapter's folder as its engines find it."""
        self.send_priority = send_priority
        self.cache_salt = cache_salt
        self.recovery = recovery
        """Whether another replica goes on with a stream whose replica dies."""
        self.fallback = tuple(fallback)
        """The models that take its place, in this order, where it has no capacity, fails, or cannot take so much."""
        self.guard = guard
        """The classifier that looks at each request first, if there is one."""
        self.explains = explains
        """Whether its engines may know the field ``explain``; one that does not would ignore it without a word."""
        self.slo = slo or {}
        """How quickly it is to answer: seconds by ``ttft``, ``tpot`` and ``e2e``, as far as that is said."""
        self.canary = canary
        """The model that answers a share of its requests, if there is one."""
        self.max_model_len: int | None = None
        """How many tokens a request may have, as an engine's model card says; ``None`` as long as none does."""
        self._observers: tuple[Callable[[Model], None], ...] = ()
        if parent is not None:
            self.max_model_len = parent.max_model_len
            parent.observe(lambda changed: self.set_max_model_len(changed.max_model_len))

    def __repr__(self) -> str:
        return f"<Model {self.name!r} as {self.upstream_name!r} at {self.pool!r}>"

    @property
    def ready(self) -> bool:
        """Whether requests for it are answered now."""
        return self.pool.on_call if self.parent is None else bool(self.pool.able(self.adapter))

    def observe(self, changed: Callable[[Model], None]) -> None:
        """Call ``changed`` from now on whenever ``max_model_len`` is another."""
        self._observers = (*self._observers, changed)

    def set_max_model_len(self, max_model_len: int | None) -> None:
        """Take over how many tokens a request may have."""
        if max_model_len != self.max_model_len:
            self.max_model_len = max_model_len
            for changed in self._observers:
                changed(self)
