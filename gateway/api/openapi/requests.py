"""The bodies of requests as the reference shows them: the fields that most clients send.

These shapes only describe. A request may have any other field that its engine knows: the gateway hands it on as it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Model = Annotated[str, Meta(description="The name of a model, as `GET /v1/models` lists it.")]
Stream = Annotated[bool, Meta(description="Send the response as server-sent events while it is produced.")]
Temperature = Annotated[float, Meta(description="0 for the most probable tokens, greater for more variety.", ge=0)]
TopP = Annotated[
    float, Meta(description="Sample from the most probable tokens that together have this probability.", gt=0, le=1)
]
MaxTokens = Annotated[int, Meta(description="Most tokens that the response may have.", ge=1)]
Binary = Annotated[str, Meta(extra_json_schema={"format": "binary"})]
"""The content of a file in a form."""

Texts = Annotated[str | list[str | int | list[int]], Meta(description="One or several texts, or their token ids.")]


class ChatMessage(msgspec.Struct, kw_only=True):
    """One message of a conversation."""

    role: Annotated[str, Meta(description="`system`, `user`, `assistant` or `tool`.")]
    content: (
        Annotated[str | list[dict[str, Any]] | None, Meta(description="A text, or parts of several kinds.")] | UnsetType
    ) = UNSET
    name: str | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class StreamOptions(msgspec.Struct, kw_only=True):
    """What a stream has besides its text."""

    include_usage: Annotated[bool, Meta(description="End the stream with the number of tokens.")] | UnsetType = UNSET


class Sampling(msgspec.Struct, kw_only=True):
    """How tokens are chosen, and when to stop."""

    max_tokens: MaxTokens | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    top_p: TopP | UnsetType = UNSET
    n: Annotated[int, Meta(description="How many answers to give.", ge=1)] | UnsetType = UNSET
    seed: (
        Annotated[int, Meta(description="The same seed gives the same answer, as far as the engine can.")] | UnsetType
    ) = UNSET
    stop: Annotated[str | list[str] | None, Meta(description="Where to stop; not part of the answer.")] | UnsetType = (
        UNSET
    )
    presence_penalty: float | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    stream: Stream | UnsetType = UNSET
    stream_options: StreamOptions | UnsetType = UNSET
    user: str | UnsetType = UNSET


class ChatCompletionRequest(Sampling, kw_only=True):
    """A request to `/v1/chat/completions`."""

    model: Model
    messages: Annotated[list[ChatMessage], Meta(description="The conversation so far, the oldest message first.")]
    max_completion_tokens: MaxTokens | UnsetType = UNSET
    logprobs: bool | UnsetType = UNSET
    top_logprobs: int | UnsetType = UNSET
    tools: Annotated[list[dict[str, Any]], Meta(description="Functions that the model may call.")] | UnsetType = UNSET
    tool_choice: str | dict[str, Any] | UnsetType = UNSET
    response_format: Annotated[dict[str, Any], Meta(description="JSON, or JSON of a schema.")] | UnsetType = UNSET


class CompletionRequest(Sampling, kw_only=True):
    """A request to `/v1/completions`."""

    model: Model
    prompt: Texts
    suffix: str | UnsetType = UNSET
    echo: bool | UnsetType = UNSET
    logprobs: int | UnsetType = UNSET


class ResponseRequest(msgspec.Struct, kw_only=True):
    """A request to `/v1/responses`."""

    model: Model
    input: Annotated[str | list[dict[str, Any]], Meta(description="A text, or the items of a conversation.")]
    instructions: str | UnsetType | None = UNSET
    max_output_tokens: MaxTokens | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    top_p: TopP | UnsetType = UNSET
    stream: Stream | UnsetType = UNSET
    tools: list[dict[str, Any]] | UnsetType = UNSET


class MessageParam(msgspec.Struct):
    """One message of a conversation in Anthropic's API."""

    role: Literal["user", "assistant"]
    content: str | list[dict[str, Any]]


class MessageRequest(msgspec.Struct, kw_only=True):
    """A request to `/v1/messages`, Anthropic's API."""

    model: Model
    max_tokens: MaxTokens
    messages: list[MessageParam]
    system: str | list[dict[str, Any]] | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    top_p: TopP | UnsetType = UNSET
    stop_sequences: list[str] | UnsetType = UNSET
    stream: Stream | UnsetType = UNSET
    tools: list[dict[str, Any]] | UnsetType = UNSET


class TokenCountRequest(msgspec.Struct, kw_only=True):
    """A request to `/v1/messages/count_tokens`."""

    model: Model
    messages: list[MessageParam]
    system: str | list[dict[str, Any]] | UnsetType = UNSET
    tools: list[dict[str, Any]] | UnsetType = UNSET


class TextRequest(msgspec.Struct, kw_only=True):
    """What requests about texts have."""

    model: Model
    truncate_prompt_tokens: (
        Annotated[int, Meta(description="Cut longer texts to so many tokens; -1 for the model's limit.", ge=-1)]
        | UnsetType
    ) = UNSET


class InputRequest(TextRequest, kw_only=True):
    """What requests about each of several texts have."""

    input: Texts
    add_special_tokens: bool | UnsetType = UNSET


class EmbeddingRequest(InputRequest, kw_only=True):
    """A request to `/v1/embeddings`."""

    encoding_format: Literal["float", "base64"] | UnsetType = UNSET
    dimensions: int | UnsetType = UNSET


class SuggestionRequest(TextRequest, kw_only=True):
    """A request to `/v1/suggest`; `model` is an embedder that the ONNX engine serves."""

    input: Annotated[list[str], Meta(description="The texts to choose from.", min_length=1, max_length=10_000)]
    probs: (
        Annotated[
            list[list[float]],
            Meta(description="The `probs` that `/classify` gives for each; without, only how unlike counts."),
        ]
        | UnsetType
    ) = UNSET
    count: Annotated[int, Meta(description="How many to choose.", ge=1, le=1000)] | UnsetType = UNSET


class Explain(msgspec.Struct, kw_only=True):
    """How a class is explained."""

    label: Annotated[str, Meta(description="The class to explain; without, the predicted one.")] | UnsetType = UNSET
    top: (
        Annotated[int, Meta(description="Give only so many words, those of the greatest weight.", ge=1)] | UnsetType
    ) = UNSET
    max_words: (
        Annotated[
            int,
            Meta(description="A text of more words is explained by so many groups of neighbours.", ge=1, le=1024),
        ]
        | UnsetType
    ) = UNSET


class ClassificationRequest(InputRequest, kw_only=True):
    """A request to `/classify`."""

    explain: (
        Annotated[
            bool | Explain,
            Meta(
                description="Say what each word adds to the class, by leaving it out. ONNX classifiers only; "
                "`usage` counts every text that this takes."
            ),
        ]
        | UnsetType
    ) = UNSET

    use_activation: (
        Annotated[bool, Meta(description="Give probabilities; without, the logits that they come from.")] | UnsetType
    ) = UNSET


class PoolingRequest(InputRequest, kw_only=True):
    """A request to `/pooling`."""

    encoding_format: Literal["float", "base64"] | UnsetType = UNSET
    task: Annotated[str, Meta(description="`embed`, `classify`, `token_embed` or `token_classify`.")] | UnsetType = (
        UNSET
    )


class ModerationRequest(msgspec.Struct, kw_only=True):
    """A request to `/v1/moderations`."""

    input: Annotated[str | list[str | dict[str, Any]], Meta(description="One or several texts.")]
    model: Annotated[str, Meta(description="Without, the first model that moderates.")] | UnsetType = UNSET


class ScoreRequest(TextRequest, kw_only=True):
    """A request to `/score`; the two sides have other names in other APIs, which are understood too."""

    queries: (
        Annotated[str | list[str], Meta(description="One text for all documents, or one for each.")] | UnsetType
    ) = UNSET
    documents: Annotated[str | list[str], Meta(description="The other side of each pair.")] | UnsetType = UNSET
    text_1: str | list[str] | UnsetType = UNSET
    text_2: str | list[str] | UnsetType = UNSET


class RerankRequest(TextRequest, kw_only=True):
    """A request to `/rerank`."""

    query: str
    documents: list[str]
    top_n: Annotated[int, Meta(description="How many documents come back; 0 for all.", ge=0)] | UnsetType = UNSET


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """A request to `/tokenize`: a `prompt`, or the `messages` of a conversation."""

    model: Model
    prompt: str | UnsetType = UNSET
    messages: list[ChatMessage] | UnsetType = UNSET
    add_special_tokens: bool | UnsetType = UNSET
    return_token_strs: bool | UnsetType = UNSET


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    """A request to `/detokenize`."""

    model: Model
    tokens: list[int]


class TranslationForm(msgspec.Struct, kw_only=True):
    """The form of `/v1/audio/translations`."""

    file: Annotated[Binary, Meta(description="The recording.")]
    model: Model
    prompt: str | UnsetType = UNSET
    response_format: Annotated[str, Meta(description="`json`, `text` or `verbose_json`.")] | UnsetType = UNSET
    temperature: Temperature | UnsetType = UNSET
    stream: Stream | UnsetType = UNSET


class TranscriptionForm(TranslationForm, kw_only=True):
    """The form of `/v1/audio/transcriptions`."""

    language: Annotated[str, Meta(description="What is spoken, as a code of ISO 639-1.")] | UnsetType = UNSET


class FileUploadForm(msgspec.Struct, kw_only=True):
    """The form of `POST /v1/files`."""

    file: Annotated[Binary, Meta(description="The file.")]
    purpose: Annotated[
        str, Meta(description="What it is for, such as `fine-tune` or `batch`; it is checked accordingly.")
    ]


class UploadPartForm(msgspec.Struct, kw_only=True):
    """The form of `POST /v1/uploads/{id}/parts`."""

    data: Annotated[Binary, Meta(description="The bytes of this part, 64 MiB at most.")]
