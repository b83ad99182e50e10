"""What chat and plain completions share: how much is generated, and the order of a stream's events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import msgspec

from loadtest.simulator import tokens
from loadtest.simulator.batch import Work
from loadtest.simulator.engine_response import DONE, ResponseContext
from loadtest.simulator.requests import GenerationRequest, answer_length

FINGERPRINT = "vllm-0.32.0-simulate"
"""``system_fingerprint`` of every response."""


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """What will be generated: so many choices of so many tokens each."""

    work: Work
    """What one choice costs; further ones run beside it."""
    choices: int
    finish_reason: str
    final_usage: bool
    running_usage: bool
    piece_bytes: int
    begun: int
    """How many tokens of the response the prompt has already."""

    @classmethod
    def of(
        cls,
        asked: ResponseContext,
        request: GenerationRequest,
        prompt: bytes | list[int],
        prompt_tokens: int,
        *,
        choices: int,
        begun: int = 0,
    ) -> GenerationPlan:
        """Return the plan for a request; without a limit the model stops by itself. Raises ``EngineError``."""
        limit = request.limit
        length = answer_length(prompt_tokens, limit, asked.max_model_len)
        options = request.stream_options
        final = bool(options and options.include_usage)
        return cls(
            work=Work(prompt_tokens, length, prompt),
            choices=choices,
            finish_reason="stop" if limit is None else "length",
            final_usage=final,
            running_usage=asked.faults.usage_on_every_event
            or (final and bool(options and options.continuous_usage_stats)),
            piece_bytes=asked.faults.event_bytes,
            begun=begun,
        )

    @property
    def length(self) -> int:
        """Tokens of each choice."""
        return self.work.output_tokens

    def piece(self, index: int) -> str:
        """Return the text of one token."""
        return tokens.piece(self.begun + index, self.piece_bytes)

    def text(self) -> str:
        """Return the text of all tokens."""
        return tokens.text(self.length, self.piece_bytes, self.begun)

    def usage(self, produced: int) -> dict[str, Any]:
        """Return the counts with so many output tokens."""
        given = self.work.prompt_tokens
        return {"prompt_tokens": given, "total_tokens": given + produced, "completion_tokens": produced}

    def final_counts(self) -> dict[str, Any]:
        """Return the counts at a stream's end, with what was cached where a prefix cache is simulated."""
        return self.usage(self.choices * self.length) | (self._details or {})

    def unary_usage(self) -> dict[str, Any]:
        """Return the counts at the end, with the details, mostly empty, that unary responses have."""
        details = {"prompt_tokens_details": None, "completion_tokens_details": None}
        return self.usage(self.choices * self.length) | details | (self._details or {})

    @property
    def _details(self) -> dict[str, Any] | None:
        """What vLLM says of its prefix cache under ``--enable-prompt-tokens-details``."""
        cached = self.work.cached_tokens
        return None if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}


class Wording(Protocol):
    """How one endpoint words the events of its stream. Choices are JSON, already encoded."""

    id_prefix: str
    object: str
    usage_details: ClassVar[dict[str, None]]
    """What running usage has beside the counts."""
    opening: bytes
    """The choice of the event that names its role, to be completed by the choice's index; empty: there is none."""

    def token(self, choice: int, index: int) -> bytes:
        """Return one token of a choice; the last says why it is the last, if that is a limit."""

    def stop(self, choice: int) -> bytes:
        """Return the event without text that says that the model had no more to say."""


class GenerationStream:
    """The order of events, which chat and plain completions share."""

    opening: tuple[bytes, ...] = ()

    def __init__(self, asked: ResponseContext, plan: GenerationPlan, says: Wording) -> None:
        self.work = plan.work
        self._plan = plan
        self._says = says
        self._head = b'data: {"id":%s,"object":"%s","created":%d,"model":%s,"choices":[' % (
            msgspec.json.encode(f"{says.id_prefix}-{asked.id}"),
            says.object.encode(),
            asked.created,
            msgspec.json.encode(asked.model),
        )

    def step(self, index: int) -> list[bytes]:
        """Return the events that one token of every choice brings."""
        plan, says = self._plan, self._says
        events: list[bytes] = []
        if index == 0:
            more = b',"prompt_token_ids":null,"prompt_text":null'
            choices = range(plan.choices if says.opening else 0)
            events.extend(self._event(says.opening % choice, 0, more) for choice in choices)
        last = index == plan.length - 1
        final = self._fingerprint if last and not plan.final_usage else b""
        stops = last and plan.finish_reason == "stop"
        for choice in range(plan.choices):
            events.append(self._event(says.token(choice, index), index + 1, b"" if stops else final))
            if stops:
                events.append(self._event(says.stop(choice), index + 1, final))
        if last:
            if plan.final_usage:
                usage = msgspec.json.encode(plan.final_counts())
                events.append(b'%s],"usage":%s%s}\n\n' % (self._head, usage, self._fingerprint))
            events.append(DONE)
        return events

    def failure(self, error: bytes) -> list[bytes]:
        """Return the error as an event, and the end marker."""
        return [b"data: %s\n\n" % error, DONE]

    _fingerprint = b',"system_fingerprint":"%s"' % FINGERPRINT.encode()

    def _event(self, choice: bytes, produced: int, more: bytes) -> bytes:
        usage = b""
        if self._plan.running_usage:
            usage = b',"usage":' + msgspec.json.encode(self._plan.usage(produced) | self._says.usage_details)
        return b"%s%s]%s%s}\n\n" % (self._head, choice, usage, more)
