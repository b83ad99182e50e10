"""The request that lets another replica go on with a completion from the text so far.

For a chat that text becomes a last message of the assistant, which vLLM and SGLang continue when they are told
``continue_final_message``; for a plain completion it is appended to the prompt. A request is continued only if all of
its fields are known to mean the same for the rest of a response as for the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_MESSAGES = msgspec.json.Decoder(list[Raw])

_LIMITS = ("max_tokens", "max_completion_tokens")

_DEFAULT_LIMIT = 16
"""``max_tokens`` of a plain completion that says nothing, as OpenAI and vLLM have it."""

_HARMLESS = frozenset(
    {
        "add_special_tokens",
        "cache_salt",
        "chat_template",
        "chat_template_kwargs",
        "documents",
        "ignore_eos",
        "logit_bias",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "min_p",
        "mm_processor_kwargs",
        "model",
        "parallel_tool_calls",
        "priority",
        "prompt",
        "prompt_cache_key",
        "repetition_penalty",
        "request_id",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop_token_ids",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "top_k",
        "top_p",
        "user",
    }
)
"""Fields that mean the same for the rest of a response as for the whole, whatever they hold."""

_DEFAULTS: Mapping[str, object] = {
    "add_generation_prompt": True,
    "best_of": 1,
    "include_reasoning": True,
    "modalities": ["text"],
    "n": 1,
    "response_format": {"type": "text"},
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "tool_choice": "none",
}
"""Other fields that change nothing with these values. All others do not where they are null, false, zero or empty."""

_THOUGHTS = ("<think>", "</think>")
"""What templates take out of earlier messages of the assistant."""


class ContinuedRequest(msgspec.Struct, frozen=True):
    """The body of the request, and the white space that the response must begin with.

    Templates may trim a message, so its white space at the end is left out, and has to come again.
    """

    body: bytes
    owed: str


def continued_request(
    body: bytes, usage_bytes: int, text: str, *, tokens: int, finished: bool
) -> ContinuedRequest | None:
    """Ask for the rest of a response of which ``text``, in so many ``tokens``, has come; ``None`` if that cannot be.

    The last ``usage_bytes`` of ``body`` ask for usage on the gateway's behalf, and stay its last. Where the text is
    ``finished``, only the usage is missing: as few tokens as can be are asked for.
    """
    usage = body[len(body) - usage_bytes :]
    if usage:
        body = body[:-usage_bytes] + b"}"
    fields = _OBJECT.decode(body)
    values = {name: msgspec.json.decode(value) for name, value in fields.items()}
    if not all(_is_harmless(name, value) for name, value in values.items()):
        return None
    owed = ""
    if "messages" in values:
        if not _may_get_answer(values["messages"]) or any(thought in text for thought in _THOUGHTS):
            return None
        owed = text[len(text.rstrip()) :]
        if text.rstrip():
            message = msgspec.json.encode({"role": "assistant", "content": text.rstrip()})
            fields["messages"] = Raw(msgspec.json.encode([*_MESSAGES.decode(fields["messages"]), Raw(message)]))
            fields["continue_final_message"] = Raw(b"true")
            fields["add_generation_prompt"] = Raw(b"false")
    else:
        prompt = values.get("prompt")
        prompt = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
        if not isinstance(prompt, str):
            return None
        fields["prompt"] = Raw(msgspec.json.encode(prompt + text))
        values.setdefault("max_tokens", _DEFAULT_LIMIT)
    limits = {name: values[name] for name in _LIMITS if values.get(name) is not None}
    if finished:
        limits = dict.fromkeys(limits or ("max_tokens",), tokens + 1)
    for name, limit in limits.items():
        if type(limit) is not int or limit <= tokens:
            return None
        fields[name] = Raw(b"%d" % (limit - tokens))
    written = msgspec.json.encode(fields)
    return ContinuedRequest(written[:-1] + usage if usage else written, owed)


def _is_harmless(name: str, value: object) -> bool:
    if name in _DEFAULTS:
        return value is None or value == _DEFAULTS[name]
    return name in _HARMLESS or not value


def _may_get_answer(messages: Any) -> bool:
    """Whether the assistant's message would be the first of its turn."""
    return (
        isinstance(messages, list)
        and bool(messages)
        and isinstance(messages[-1], dict)
        and messages[-1].get("role") != "assistant"
    )
