"""``/v1/completions``, unary and streamed."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from loadtest.simulator import tokens
from loadtest.simulator.engine_response import EngineResponse, ResponseContext, UnaryResponse
from loadtest.simulator.generation import FINGERPRINT, GenerationPlan, GenerationStream
from loadtest.simulator.requests import CompletionRequest, check_model, decode, prompt_of, texts_of, tokens_of


def completion(asked: ResponseContext) -> EngineResponse:
    """Answer ``/v1/completions``. Raises ``EngineError``."""
    request = decode(asked.body, asked.content_type, CompletionRequest)
    request.check()
    check_model(request.model, asked.model)
    prompts = texts_of(request.prompt, "prompt")
    prompt_tokens, begun, only = sum(tokens_of(each) for each in prompts), 0, prompts[0]
    if len(prompts) == 1 and isinstance(only, str):
        begun, size = tokens.begun(only)
        prompt_tokens = tokens.count(only[: len(only) - size]) + begun
    choices = len(prompts) * (request.n or 1)
    plan = GenerationPlan.of(asked, request, prompt_of(prompts), prompt_tokens, choices=choices, begun=begun)
    if request.stream:
        return GenerationStream(asked, plan, _Wording(plan))
    return UnaryResponse(b"", plan.work, lambda: _whole(asked, plan))


def _whole(asked: ResponseContext, plan: GenerationPlan) -> bytes:
    choices = [
        {
            "index": index,
            "text": plan.text(),
            "logprobs": None,
            "finish_reason": plan.finish_reason,
            "stop_reason": None,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
        for index in range(plan.choices)
    ]
    answer = {
        "id": f"cmpl-{asked.id}",
        "object": "text_completion",
        "created": asked.created,
        "model": asked.model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": plan.unary_usage(),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }
    return msgspec.json.encode(answer)


class _Wording:
    """How a stream of plain completions says things."""

    id_prefix = "cmpl"
    object = "text_completion"
    usage_details: ClassVar[dict[str, None]] = {}
    opening = b""
    """Empty: a choice begins with its first token."""

    def __init__(self, plan: GenerationPlan) -> None:
        self._plan = plan

    def token(self, choice: int, index: int) -> bytes:
        """Return one token of a choice; the last says why it is the last, if that is a limit."""
        plan = self._plan
        ends = index == plan.length - 1 and plan.finish_reason == "length"
        return self._choice(choice, plan.piece(index).encode(), b'"length"' if ends else b"null")

    def stop(self, choice: int) -> bytes:
        """Return the event without text that says that the model had no more to say."""
        return self._choice(choice, b"", b'"stop"')

    @staticmethod
    def _choice(choice: int, text: bytes, finish_reason: bytes) -> bytes:
        return (
            b'{"index":%d,"text":"%s","logprobs":null,"finish_reason":%s,"stop_reason":null,'
            b'"prompt_token_ids":null,"token_ids":null}' % (choice, text, finish_reason)
        )
