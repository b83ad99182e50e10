"""A prompt goes where the most of it is in the prefix cache, as long as that is worth the wait."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from gateway.pools.policies.compared import MOST_COMPARED, compared
from gateway.pools.policies.policy import Routable
from gateway.pools.policies.prefill_queue import UNREAD, PrefillQueue
from gateway.pools.policies.prefix_index import PrefixIndex
from gateway.pools.policies.prompt_blocks import BLOCK_ENDS
from gateway.pools.policies.token_estimate import TokenEstimate
from gateway.pools.policies.weights import are_weighted, compared_by_weight
from gateway.pools.replica import Replica, ReplicaState

_CACHED = UNREAD
"""What each token of a prefix saves that need not be computed again."""

_STAY = 16.0 * UNREAD
"""What each token of a prefix is worth beyond that.

A prefix that moves is computed once more, and what it pushes out of the other cache perhaps too. On Mooncake's
conversation trace 1 kept 75 % of the possible hits near the engines' limit, 4 kept 87 %, and from 10 on 93 to 99 %."""

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
        self._weighted = False

    def replicas_changed(self, replicas: Sequence[Replica]) -> None:
        """Forget the replicas that are gone, but for what is still in flight there."""
        before, self._replicas = self._replicas, frozenset(replicas)
        for replica in self._replicas - before:
            queue = self._queues.setdefault(replica, PrefillQueue())
            queue.bit = self._index.bit_of(replica)
        self._weighted = are_weighted(replicas)
        for replica in before - self._replicas:
            self._index.leave_out(replica)
            if not self._queues.get(replica):
                self._queues.pop(replica, None)

    def state_changed(self, replica: Replica) -> None:
        """Forget the cache of a replica that is not ready: when it is again, it may have started anew."""
        self._weighted = are_weighted(self._replicas)
        if not replica.ready and replica.state is not ReplicaState.DRAINING:
            self._index.forget(replica)

    def pick(self, candidates: Sequence[Replica], request: Routable) -> Replica:
        """Choose the one with the shortest expected wait, of those that know the prompt's prefix and some others.

        The prompt's own length, which is the same everywhere, is left out.
        """
        prompt, size = request.prompt, len(candidates)
        known = self._index.known(prompt, size if size < _HOLDERS else _HOLDERS)
        self._turn += 1
        if size <= MOST_COMPARED and not self._weighted:
            choice, first = candidates, candidates[self._turn % size]
        else:
            choice = (compared_by_weight if self._weighted else compared)(candidates, self._turn)
            first = choice[0]
            if size > len(choice):
                holders = self._index.replicas_of(sum(bits for _, bits in known))
                choice = [*choice, *(replica for replica in holders if replica in candidates)]
        # perf: call, see docs/python-idioms.md.
        queues, mean_request, weighted = self._queues, self._estimate.mean_request, self._weighted
        cached: list[tuple[int, int, float]] = []
        for number, bits in known:
            cached.append((bits, prompt.blocks[number - 1], BLOCK_ENDS[number - 1] * prompt.per_byte))
        best, lowest = first, inf
        for replica in choice:
            queue = queues[replica]
            if queue.streams:
                queue.look()
            cost = queue.load
            if replica.foreign:
                cost += replica.foreign * mean_request
            if weighted:
                cost /= replica.weight
            for bits, last, tokens in cached:
                if bits & queue.bit:
                    cost -= tokens * (_CACHED + _STAY / (1 + queue.sharing.get(last, 0)))
                    break
            # Among equals it is the turn of one.
            if cost <= lowest and (cost < lowest or replica is first):
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
