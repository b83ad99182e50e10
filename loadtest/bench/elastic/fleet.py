"""A fleet of simulated engines behind one queue, whose size a rule decides, in virtual time.

Each replica is the simulator's model of vLLM's scheduler. A replica takes requests when its start is over; one that is
let go finishes what it has. Replica-seconds count from the order to start until the replica has gone. What waits for
longer than it may is refused, as by the gateway's ``queue_timeout``, and is outside the objective.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.bench.elastic.virtual_time import VirtualTimeLoop
from loadtest.simulator.batch import Work
from loadtest.simulator.profile import Profile
from loadtest.simulator.scheduler import Scheduler
from loadtest.traces import TraceRequest

_TICK_SECONDS = 1.0

_QUIET_SECONDS = 30.0
"""Before the first request, so that rules that average begin with nothing."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What a request must have got to count: its first token and the mean gap of the others, in seconds."""

    ttft: float = 2.0
    tpot: float = 0.05


@dataclass(frozen=True, slots=True)
class Demand:
    """What a rule sees: replicas that are ready and that start, requests that run, wait, and were ever answered."""

    now: float
    ready: int
    starting: int
    running: int
    waiting: int
    answered: int

    @property
    def requests(self) -> int:
        """Requests that run or wait."""
        return self.running + self.waiting

    @property
    def replicas(self) -> int:
        """Replicas that are ready or start."""
        return self.ready + self.starting


Rule = Callable[[Demand], int]
"""Says how many replicas there are to be, once a second."""


@dataclass(frozen=True, slots=True)
class FleetRun:
    """How a rule did: the share of requests within the objective, replica-seconds, and both as they went."""

    attained: float
    replica_seconds: float
    changes: int
    seconds: float
    demand: Sequence[int]
    """Requests that ran or waited, second by second."""
    replicas: Sequence[int]
    """Replicas that were ready or started, second by second."""
    missed: Sequence[int]
    """Requests outside the objective, by the second in which they came."""


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """One replica's speed and how long its start takes in seconds; how many requests it gets at once at most.

    ``queue_timeout`` is for how long a request may wait, in seconds.
    """

    profile: Profile
    start_seconds: float
    slots: int = 6
    queue_timeout: float = math.inf
    objective: Objective = Objective()


def simulate(trace: Sequence[TraceRequest], settings: FleetSettings, rule: Rule, *, at_first: int) -> FleetRun:
    """Replay a trace to a fleet that begins with so many ready replicas."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(_Fleet(settings, at_first).replay(trace, rule))
    finally:
        loop.close()


class _Request:
    """One request of the trace, as the scheduler runs it."""

    stepwise = True

    def __init__(self, work: Work, came_at: float, done: Callable[[_Request], None]) -> None:
        self.work = work
        self.replica: _Replica | None = None
        self.came_at = came_at
        self._done = done
        self._first_at = self._last_at = 0.0

    def produced(self, tokens: int) -> None:
        now = asyncio.get_running_loop().time()
        if tokens == 1:
            self._first_at = now
        if tokens == self.work.output_tokens:
            self._last_at = now
            self._done(self)

    def attained(self, objective: Objective) -> bool:
        gaps = max(1, self.work.output_tokens - 1)
        in_time = self._first_at - self.came_at <= objective.ttft
        return in_time and (self._last_at - self._first_at) / gaps <= objective.tpot


class _Replica:
    """One engine of the fleet."""

    def __init__(self, profile: Profile, born_at: float) -> None:
        self.engine = Scheduler(profile, lambda: None)
        self.born_at = born_at
        self.running = 0
        self.ready = self.leaving = False
        self.start: asyncio.TimerHandle | None = None


class _Fleet:
    def __init__(self, settings: FleetSettings, at_first: int) -> None:
        self._settings = settings
        self._at_first = at_first
        self._replicas: list[_Replica] = []
        self._waiting: deque[_Request] = deque()
        self._answered = self._refused = self._changes = 0
        self._missed: Counter[int] = Counter()
        self._replica_seconds = 0.0

    async def replay(self, trace: Sequence[TraceRequest], rule: Rule) -> FleetRun:
        loop = asyncio.get_running_loop()
        self._scale(self._at_first)
        for replica in self._replicas:
            self._started(replica)
        self._changes = 0
        first = trace[0].at
        for each in trace:
            loop.call_at(_QUIET_SECONDS + each.at - first, self._arrive, each)
        demand, replicas = [], []
        while self._answered + self._refused < len(trace):
            seen = self._seen(loop.time())
            demand.append(seen.requests)
            replicas.append(seen.replicas)
            self._scale(rule(seen))
            await asyncio.sleep(_TICK_SECONDS)
        for replica in list(self._replicas):
            self._end(replica)
        return FleetRun(
            attained=1 - self._missed.total() / len(trace),
            replica_seconds=self._replica_seconds,
            changes=self._changes,
            seconds=loop.time(),
            demand=demand,
            replicas=replicas,
            missed=[self._missed[second] for second in range(len(demand))],
        )

    def _seen(self, now: float) -> Demand:
        here = [each for each in self._replicas if not each.leaving]
        ready = sum(each.ready for each in here)
        running = sum(each.running for each in self._replicas)
        return Demand(now, ready, len(here) - ready, running, len(self._waiting), self._answered)

    def _scale(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        here = [each for each in self._replicas if not each.leaving]
        self._changes += abs(number - len(here))
        for _ in range(number - len(here)):
            replica = _Replica(self._settings.profile, loop.time())
            replica.start = loop.call_later(self._settings.start_seconds, self._started, replica)
            self._replicas.append(replica)
        here.sort(key=lambda each: (each.ready, each.running))
        for replica in here[: max(0, len(here) - number)]:
            replica.leaving = True
            if not replica.running:
                self._end(replica)

    def _started(self, replica: _Replica) -> None:
        replica.ready = True
        self._dispatch()

    def _end(self, replica: _Replica) -> None:
        if replica.start is not None:
            replica.start.cancel()
        self._replica_seconds += asyncio.get_running_loop().time() - replica.born_at
        self._replicas.remove(replica)

    def _arrive(self, request: TraceRequest) -> None:
        loop = asyncio.get_running_loop()
        waiting = _Request(Work(request.tokens_in, max(1, request.tokens_out)), loop.time(), self._done)
        self._waiting.append(waiting)
        self._dispatch()
        if waiting.replica is None and self._settings.queue_timeout < math.inf:
            loop.call_later(self._settings.queue_timeout, self._give_up, waiting)

    def _give_up(self, request: _Request) -> None:
        if request.replica is None:
            self._waiting.remove(request)
            self._refused += 1
            self._missed[int(request.came_at)] += 1

    def _dispatch(self) -> None:
        while self._waiting:
            open_ones = [each for each in self._replicas if each.ready and not each.leaving]
            replica = min(open_ones, key=lambda each: each.running, default=None)
            if replica is None or replica.running == self._settings.slots:
                return
            request = self._waiting.popleft()
            request.replica = replica
            replica.running += 1
            replica.engine.add(request)

    def _done(self, request: _Request) -> None:
        replica = request.replica
        assert replica is not None
        replica.running -= 1
        self._answered += 1
        if not request.attained(self._settings.objective):
            self._missed[int(request.came_at)] += 1
        if replica.leaving and not replica.running:
            self._end(replica)
        self._dispatch()
