"""Everything that a test will send, made before it begins so that making it costs the test nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loadtest import arrivals, workload
from loadtest.load import Load
from loadtest.mix import Part, drawn
from loadtest.record import Record
from loadtest.traces import TraceRequest
from loadtest.workload import WORKLOADS, Request

_FEWEST_PROMPTS = 200
_PROMPT_TOKENS = 2_000_000
"""How many different prompts are made, or tokens of them, where more requests are asked for; then they come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape:
    """What requests look like. ``leave`` is the share of clients that go away early."""

    parts: Sequence[Part]
    input_tokens: int = 100
    output_tokens: int = 64
    stream: bool = True
    leave: float = 0.0
    seed: int = 0

    def requests(self, number: int, salt: str = "") -> list[Request]:
        """Make up to ``number`` requests. Other ``salt``, other words: no prefix cache knows them from another run."""
        number = min(number, max(_FEWEST_PROMPTS, _PROMPT_TOKENS // self.input_tokens))
        seed = f"{self.seed} {salt}"
        return self._made(
            [(workload.text(self.input_tokens, f"{seed} {each}"), self.output_tokens) for each in range(number)]
        )

    def one_of_each(self, salt: str = "") -> list[Request]:
        """Make one request of each kind."""
        text = workload.text(self.input_tokens, f"{self.seed} {salt}")
        return [self._request(part, text, self.output_tokens) for part in self.parts]

    def replayed(self, recorded: Sequence[TraceRequest], salt: str = "") -> list[Request]:
        """Make the requests of a trace, with its lengths and equal prefixes."""
        return self._made([(each.prompt(f"{self.seed} {salt}"), each.tokens_out) for each in recorded])

    def _made(self, sizes: Sequence[tuple[str, int]]) -> list[Request]:
        requests = []
        for part, (prompt, tokens_out) in zip(drawn(self.parts, len(sizes), self.seed), sizes, strict=True):
            requests.append(self._request(part, prompt, tokens_out))
        return workload.leaving(requests, self.leave, self.seed) if self.leave else requests

    def _request(self, part: Part, prompt: str, tokens_out: int) -> Request:
        request = WORKLOADS[part.kind](part.model, prompt, tokens_out, stream=self.stream)
        return replace(request, kind=part.kind, tokens=prompt.count(" ") + 1)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Requests, and when they are sent: at ``moments``, or by ``clients`` that send one after the other."""

    requests: Sequence[Request]
    moments: Sequence[float] | None = None
    clients: int = 0
    seconds: float = 0.0

    @classmethod
    def at_rate(
        cls, shape: RequestShape, rate: float, seconds: float, *, evenly: bool = False, salt: str = ""
    ) -> LoadPlan:
        """Send ``rate`` requests per second, like independent users or evenly spaced."""
        spaced = arrivals.constant(rate, seconds) if evenly else arrivals.poisson(rate, seconds, shape.seed)
        return cls(shape.requests(max(1, len(spaced)), salt), spaced)

    @classmethod
    def with_clients(cls, shape: RequestShape, clients: int, seconds: float, *, salt: str = "") -> LoadPlan:
        """Let ``clients`` send one request after the other."""
        return cls(shape.requests(10_000, salt), None, clients, seconds)

    @classmethod
    def of_trace(
        cls, shape: RequestShape, recorded: Sequence[TraceRequest], scale: float, *, salt: str = ""
    ) -> LoadPlan:
        """Replay a trace, its time stretched by ``scale``."""
        return cls(shape.replayed(recorded, salt), arrivals.rescaled([each.at for each in recorded], scale))


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came of a plan: a record of each request, and the client's own CPU time in seconds."""

    records: Sequence[Record]
    cpu_seconds: float


async def run_plan(plan: LoadPlan, load: Load) -> LoadResult:
    """Send what is planned, and wait for the last response."""
    sent, used = len(load.records), load.cpu_seconds
    if plan.moments is None:
        await load.closed_loop(plan.requests, plan.clients, plan.seconds)
    else:
        await load.open_loop(plan.requests, plan.moments)
    return LoadResult(load.records[sent:], load.cpu_seconds - used)
