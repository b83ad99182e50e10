"""What requests may hold and what answers look like: the shapes of vLLM 0.32.

Fields that are not named here are ignored, as vLLM does. A field whose effect this engine does not have is named with
the values that change nothing, so that any other value is refused instead of being ignored silently.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec

from engines.onnx.errors import BadRequest

TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class PoolingRequest(msgspec.Struct, kw_only=True):
    """The fields that every request about texts has.

    ``input`` is one text or one list of token ids, or a list of either. A text becomes at most
    ``truncate_prompt_tokens`` tokens, its special tokens among them; -1 stands for the model's limit, and
    ``truncation_side`` says which end is cut off.
    """

    input: str | list[str | TokenId | list[TokenId]]
    model: str | None = None
    request_id: str | None = None
    add_special_tokens: bool = True
    truncate_prompt_tokens: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    use_activation: bool | None = None
    padding: Literal["do_not_pad"] | None = None
    priority: Literal[0] = 0
    normalize: Any = msgspec.UNSET


class ClassifyRequest(PoolingRequest, kw_only=True):
    """A request to ``/classify``; ``use_activation`` false asks for logits instead of probabilities."""


class EmbedRequest(PoolingRequest, kw_only=True):
    """A request to ``/v1/embeddings``; ``use_activation`` false asks for vectors that are not normalised.

    ``embed_dtype`` and ``endianness`` matter to the ``base64`` encoding only.
    """

    encoding_format: Literal["float", "base64"] = "float"
    embed_dtype: Literal["float32", "float16"] = "float32"
    endianness: Literal["native", "little", "big"] = "native"
    dimensions: int | None = None


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """A request to ``/tokenize``."""

    prompt: str
    model: str | None = None
    add_special_tokens: bool = True
    return_token_strs: bool | None = False


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    """A request to ``/detokenize``."""

    tokens: list[TokenId]
    model: str | None = None


class Usage(msgspec.Struct):
    """How many tokens a request had; nothing is generated here."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: None = None
    completion_tokens_details: None = None


class Classification(msgspec.Struct):
    """The classes of one text; ``label`` is that of the greatest."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class Embedding(msgspec.Struct):
    """The vector of one text, as numbers or as their bytes in base64."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class PoolingAnswer(msgspec.Struct):
    """The answer to a request about texts; ``data`` holds encoded objects, one for each text, in order."""

    id: str
    created: int
    model: str
    data: list[msgspec.Raw]
    usage: Usage
    object: str = "list"


class TokenizeAnswer(msgspec.Struct):
    """The answer to ``/tokenize``."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeAnswer(msgspec.Struct):
    """The answer to ``/detokenize``."""

    prompt: str


class ModelPermission(msgspec.Struct):
    """What clients may do with a model, as vLLM lists it."""

    id: str
    created: int
    object: str = "model_permission"
    allow_create_engine: bool = False
    allow_sampling: bool = True
    allow_logprobs: bool = True
    allow_search_indices: bool = False
    allow_view: bool = True
    allow_fine_tuning: bool = False
    organization: str = "*"
    group: None = None
    is_blocking: bool = False


class ModelCard(msgspec.Struct):
    """One model of ``/v1/models``; ``max_model_len`` is in tokens."""

    id: str
    created: int
    root: str
    max_model_len: int
    permission: list[ModelPermission]
    object: str = "model"
    owned_by: str = "headgate"
    parent: None = None


class ModelList(msgspec.Struct):
    """The answer to ``/v1/models``."""

    data: list[ModelCard]
    object: str = "list"


AnyRequest = TypeVar("AnyRequest", bound=PoolingRequest | TokenizeRequest | DetokenizeRequest)

_PLACE = re.compile(r" - at `\$\.?(?P<path>.*)`$")


def decode(body: bytes, kind: type[AnyRequest]) -> AnyRequest:
    """Read a request from JSON.

    Raises ``BadRequest``, which names the field when a value has a wrong type or says where the JSON is broken.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        raise BadRequest(str(error), param=place["path"] or None if place else None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply") from None


def texts_of(request: PoolingRequest) -> list[str] | list[list[int]]:
    """Give the inputs of a request as a list, all of them strings or all of them token ids.

    Raises ``BadRequest`` for an empty list and for a list that mixes strings, ids and lists of ids.
    """
    given = request.input
    if isinstance(given, str):
        return [given]
    if not given:
        raise BadRequest("You must pass at least one prompt", param="input")
    kind = type(given[0])
    for index, item in enumerate(given):
        if type(item) is not kind:
            raise BadRequest(
                f"Expected `{kind.__name__}` like the first input, got `{type(item).__name__}`", param=f"input[{index}]"
            )
    return [cast(list[int], given)] if kind is int else cast(list[str] | list[list[int]], given)
