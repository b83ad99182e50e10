"""A prompt goes where the most of it is in the prefix cache, as long as that is worth the wait."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from gateway.pools.policies.compared import compared
from gateway.pools.policies.policy import Routable
from gateway.pools.policies.prefill_queue import PrefillQueue
from gateway.pools.policies.prefix_index import PrefixIndex
from gateway.pools.policies.prompt_blocks import BLOCK_ENDS
from gateway.pools.policies.token_estimate import TokenEstimate
from gateway.pools.policies.weights import are_weighted, compared_by_weight
from gateway.pools.replica import Replica, ReplicaState

_STAY = 16
"""How many tokens of waiting each token of a prefix is worth, beyond the one that need not be computed again.

A prefix that moves is computed once more, and what it pushes out of the other cache perhaps too. On Mooncake's
conversation trace 1 kept 75 % of the possible hits near the engines' limit, 4 kept 87 %, and from 10 on 93 to 99 %."""

_HELD = 0.2
"""How much a token that a running request holds counts, beside one that waits to be read.

Running requests take memory and a share of each step. With less, requests in flight were less even."""

_HOLDERS = 8
"""How many replicas that know a prefix are compared, beside those that are compared for any request."""


class Prefix:
    """The replica where a prompt's first token is expected first, with a preference for staying where its prefix is.

    The expected wait is counted in tokens: those that the replica has yet to read for others, and those of this prompt
    that are not in its prefix cache. That is the cache-aware scheduling of Mooncake (Qin et al., FAST 2025), without a
    model of the engine's speed, which is the same for all replicas. What tokens running requests hold is added with a
    small weight. A prefix in a cache is worth ``_STAY`` times more than its tokens, as conversations that stay keep all
    caches small; but that is divided among the requests in flight that share it, so that a prefix that many ask for at
    once spreads before it queues (exploitation and exploration, as in Preble: Srivatsa et al., ICLR 2025).

    What is in a cache follows from what was sent there, see ``PrefixIndex``; a replica that was not ready meanwhile is
    taken for empty. All this is known of the requests of this process alone; those of others at a shared replica count
    as its engine tells them. So does the size of its cache, unless ``cache_tokens`` says it.
    """

    reads_load = True

    def __init__(self, cache_tokens: int | None) -> None:
        self._turn = 0
        self._index = PrefixIndex(cache_tokens)
        self._estimate = TokenEstimate()
        self._queues: dict[Replica, PrefillQueue] = {}
        self._replicas: frozenset[Replica] = frozenset()
        self._compared = compared

    def replicas_changed(self, replicas: Sequence[Replica]) -> None:
        """Forget the replicas that are gone, but for what is still in flight there."""
        before, self._replicas = self._replicas, frozenset(replicas)
        for replica in self._replicas - before:
            self._queues.setdefault(replica, PrefillQueue())
        self._compared = compared_by_weight if are_weighted(replicas) else compared
        for replica in before - self._replicas:
            self._index.forget(replica)
            if not self._queues.get(replica):
                self._queues.pop(replica, None)

    def state_changed(self, replica: Replica) -> None:
        """Forget the cache of a replica that is not ready: when it is again, it may have started anew."""
        self._compared = compared_by_weight if are_weighted(self._replicas) else compared
        if not replica.ready and replica.state is not ReplicaState.DRAINING:
            self._index.forget(replica)

    def pick(self, candidates: Sequence[Replica], request: Routable) -> Replica:
        """Choose the one with the shortest expected wait, of those that know the prompt's prefix and some others.

        The prompt's own length, which is the same everywhere, is left out.
        """
        prompt, size = request.prompt, len(candidates)
        known = self._index.known(prompt, size if size < _HOLDERS else _HOLDERS)
        self._turn += 1
        choice = self._compared(candidates, self._turn)
        if size > len(choice):
            choice = [*choice, *(replica for replica in known if replica in candidates)]
        best, lowest = choice[0], inf
        # perf: call, see docs/python-idioms.md.
        queues, mean_request = self._queues, self._estimate.mean_request
        for replica in choice:
            queue = queues[replica]
            unread = queue.unread() if queue.streams else queue.unread_tokens
            cost = (_HELD * (queue.held_tokens + replica.foreign * mean_request) + unread) / replica.weight
            if replica in known:
                last = known[replica] - 1
                sharing = queue.sharing.get(prompt.blocks[last], 0)
                cost -= BLOCK_ENDS[last] * prompt.per_byte * (1.0 + _STAY / (1 + sharing))
            if cost < lowest:
                best, lowest = replica, cost
        return best

    def assigned(self, replica: Replica, request: Routable) -> None:
        """Count a request at its replica, whose cache will have its prompt."""
        prompt = request.prompt
        known = self._index.remember(replica, prompt)
        queue = self._queues.get(replica)
        if queue is None:
            queue = self._queues[replica] = PrefillQueue()
        tokens = prompt.tokens
        held = self._estimate.of(tokens, request.max_tokens)
        if known:
            queue.add(request, held, tokens - prompt.tokens_of(known), prompt.blocks[known - 1])
        else:
            queue.add(request, held, tokens, None)

    def released(self, replica: Replica, request: Routable) -> None:
        """Count a request out, and learn from its response; its prompt stays in the cache."""
        self._estimate.learn(request.context.output_tokens)
        queue = self._queues[replica]
        queue.remove(request)
        if replica not in self._replicas and not queue:
            del self._queues[replica]
