"""The requests that an engine understands: the fields it acts on, checked as vLLM checks them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from loadtest.simulator import tokens
from loadtest.simulator.errors import UNREADABLE, EngineError

DEFAULT_OUTPUT_TOKENS = 16
"""How many tokens a response has when the request sets no limit."""

Prompt = str | list[Any] | None

TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class ModelRequest(msgspec.Struct):
    """What all requests have."""

    model: str | None = None


class StreamOptions(msgspec.Struct):
    """``stream_options``."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class GenerationRequest(ModelRequest):
    """What chat and plain completions have in common."""

    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1

    @property
    def limit(self) -> int | None:
        """The limit on output tokens that the request sets, if it does."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def check(self) -> None:
        """Refuse no choice at all, and ``stream_options`` without ``stream``, as vLLM does. Raises ``EngineError``."""
        if self.n is not None and self.n < 1:
            raise EngineError(f"n must be at least 1, got {self.n}.")
        if self.stream_options is not None and not self.stream:
            message = "EventStream options can only be defined when `stream=True`."
            raise EngineError(f"{message} (parameter=stream_options)", param="stream_options")


class NamedFunction(msgspec.Struct):
    """A function by its name; its schema does not matter here."""

    name: str


class Tool(msgspec.Struct):
    """One of a chat's tools."""

    function: NamedFunction


class ChatRequest(GenerationRequest):
    """``/v1/chat/completions``."""

    messages: list[dict[str, Any]] | None = None
    logprobs: bool | None = False
    continue_final_message: bool | None = False
    tools: list[Tool] | None = None
    tool_choice: str | Tool | None = None

    @property
    def forced_tool(self) -> str | None:
        """The function that must be called: by its name, or the first if any is ``required``."""
        if isinstance(self.tool_choice, Tool):
            return self.tool_choice.function.name
        return self.tools[0].function.name if self.tool_choice == "required" and self.tools else None


class CompletionRequest(GenerationRequest):
    """``/v1/completions``."""

    prompt: Prompt = None
    logprobs: int | None = None


class ResponsesRequest(ModelRequest):
    """``/v1/responses``."""

    input: Prompt = None
    stream: bool | None = False
    max_output_tokens: int | None = None


class MessagesRequest(msgspec.Struct):
    """``/v1/messages`` and, without a limit, ``/v1/messages/count_tokens``."""

    model: str
    messages: list[dict[str, Any]]
    max_tokens: int | None = None
    stream: bool | None = False


class InputRequest(ModelRequest):
    """``/v1/embeddings``, ``/classify`` and ``/pooling``."""

    input: Prompt = None
    messages: list[dict[str, Any]] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    truncate_prompt_tokens: int | None = None


class ScoreRequest(ModelRequest):
    """``/score``, under each of the names that its two sides can have."""

    queries: Prompt = None
    documents: Prompt = None
    items: Prompt = None
    data_1: Prompt = None
    data_2: Prompt = None
    text_1: Prompt = None
    text_2: Prompt = None


class RerankRequest(ModelRequest):
    """``/rerank``."""

    query: Prompt = None
    documents: Prompt = None
    top_n: int = 0


class TokenizeRequest(ModelRequest):
    """``/tokenize``."""

    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    return_token_strs: bool | None = False


class DetokenizeRequest(ModelRequest):
    """``/detokenize``."""

    tokens: list[TokenId] = msgspec.field(default_factory=list)


Request = TypeVar("Request", bound=msgspec.Struct)


def decode(body: bytes, content_type: str, kind: type[Request]) -> Request:
    """Read a JSON request. Raises ``EngineError`` in the words of vLLM's own checks."""
    if content_type.partition(";")[0].strip().lower() not in ("application/json", ""):
        raise _validation_error("Unsupported Media Type: Only 'application/json' is allowed", None)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `")
        raise _validation_error(reason, place.rstrip("`").replace("$", "body", 1) or "body") from error
    except UNREADABLE as error:
        raise _validation_error(f"JSON decode error: {error}", "body") from error


def check_model(asked: str | None, served: str) -> None:
    """Refuse a model that is not served here. Raises ``EngineError``."""
    if asked and asked != served:
        raise EngineError(f"The model `{asked}` does not exist. Valid aliases: {served}.", 404, "model")


def check_pooling_model(asked: str | None, served: str) -> None:
    """Refuse it in the fewer words that pooling endpoints have for it. Raises ``EngineError``."""
    if asked and asked != served:
        raise EngineError(f"The model `{asked}` does not exist.", 404)


def answer_length(prompt_tokens: int, limit: int | None, max_model_len: int) -> int:
    """Return how many tokens the response has: as many as asked for, as far as the context has room for them.

    Raises ``EngineError`` for what the context cannot hold at all.
    """
    if limit is not None and limit < 1:
        said = f"max_tokens must be at least 1, got {limit}. (parameter=max_tokens, value={limit})"
        raise EngineError(said, param="max_tokens")
    if limit is not None and limit > max_model_len:
        said = f"max_tokens={limit} cannot be greater than max_model_len={max_model_len}."
        more = f"Please request fewer output tokens. (parameter=max_tokens, value={limit})"
        raise EngineError(f"{said} {more}", param="max_tokens")
    check_context(prompt_tokens, max_model_len)
    return min(DEFAULT_OUTPUT_TOKENS if limit is None else limit, max(1, max_model_len - prompt_tokens))


def check_context(prompt_tokens: int, max_model_len: int) -> None:
    """Refuse a prompt that is longer than the context. Raises ``EngineError``."""
    if prompt_tokens > max_model_len:
        said = f"This model's maximum context length is {max_model_len} tokens."
        more = f"However, your prompt contains at least {max_model_len + 1} input tokens."
        raise EngineError(f"{said} {more}", param="input_tokens")


def texts_of(prompt: Prompt, name: str) -> list[str | list[int]]:
    """Return the texts (or lists of token ids) that a prompt-like field holds. Raises ``EngineError``."""
    if prompt is None:
        raise missing(name)
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise EngineError("You must pass at least one prompt")
    if isinstance(prompt[0], int):
        return [prompt]
    return [each if isinstance(each, (str, list)) else msgspec.json.encode(each).decode() for each in prompt]


def tokens_of(prompt: str | list[int]) -> int:
    """Return how many tokens one prompt has."""
    return tokens.count(prompt) if isinstance(prompt, str) else len(prompt)


def text_of_messages(messages: list[dict[str, Any]]) -> bytes:
    """Return a conversation as one prompt. Raises ``EngineError`` when it is empty."""
    if not messages:
        said = "Cannot apply chat template to an empty conversation. Provide at least one message."
        raise EngineError(said)
    return msgspec.json.encode(messages)


def prompt_of(prompts: list[str | list[int]]) -> bytes | list[int]:
    """Return the prompts of one request as one: a prefix cache finds the beginning of the first."""
    if len(prompts) == 1 and not isinstance(prompts[0], str):
        return prompts[0]
    return b"".join(each.encode() if isinstance(each, str) else msgspec.json.encode(each) for each in prompts)


def missing(name: str) -> EngineError:
    """Return the error for a field that must be there."""
    return _validation_error("Field required", f"body.{name}")


def _validation_error(reason: str, place: str | None) -> EngineError:
    return EngineError(f"1 validation error:\n  {reason}", param=place, kind="Bad Request")
