"""What requests may hold and what answers look like: the shapes of vLLM 0.32.

Fields that are not named here are ignored, as vLLM does. A field whose effect this engine does not have is named with
the values that change nothing, so that any other value is refused instead of being ignored silently.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec

from engines.onnx.errors import BadRequest

TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class TextRequest(msgspec.Struct, kw_only=True):
    """The fields that every request about texts has.

    A text becomes at most ``truncate_prompt_tokens`` tokens, its special tokens among them; -1 stands for the model's
    limit, and ``truncation_side`` says which end is cut off.
    """

    model: str | None = None
    request_id: str | None = None
    truncate_prompt_tokens: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    use_activation: bool | None = None
    padding: Literal["do_not_pad"] | None = None
    priority: Literal[0] = 0
    normalize: Any = msgspec.UNSET


class InputRequest(TextRequest, kw_only=True):
    """A request about each text of ``input``: one text or one list of token ids, or a list of either."""

    input: str | list[str | TokenId | list[TokenId]]
    add_special_tokens: bool = True


class ClassifyRequest(InputRequest, kw_only=True):
    """A request to ``/classify``; ``use_activation`` false asks for logits instead of probabilities."""


class EmbedRequest(InputRequest, kw_only=True):
    """A request to ``/v1/embeddings``; ``use_activation`` false asks for vectors that are not normalised.

    ``embed_dtype`` and ``endianness`` matter to the ``base64`` encoding only.
    """

    encoding_format: Literal["float", "base64"] = "float"
    embed_dtype: Literal["float32", "float16"] = "float32"
    endianness: Literal["native", "little", "big"] = "native"
    dimensions: int | None = None


class PoolingRequest(EmbedRequest, kw_only=True):
    """A request to ``/pooling``: what the model makes of each text, whatever that is.

    ``return_spans`` is not vLLM's: it asks a model that classifies tokens for the places in the text besides.
    """

    task: str | None = None
    return_spans: bool = False


class ModerationRequest(TextRequest, kw_only=True):
    """A request to ``/v1/moderations``; ``input`` is a text, a list of texts, or a list of OpenAI's text parts."""

    input: str | list[str | ModerationPart]


class ModerationPart(msgspec.Struct):
    """A text among OpenAI's inputs of several kinds."""

    type: Literal["text"]
    text: str


TokenLimit = Annotated[int, msgspec.Meta(ge=0)]


class PairRequest(TextRequest, kw_only=True):
    """What requests about pairs of texts have: how many tokens either may have before the pair is made, 0 for all."""

    max_tokens_per_query: TokenLimit = 0
    max_tokens_per_doc: TokenLimit = 0
    instruction: None = None
    chat_template_kwargs: None = None


class ScoreRequest(PairRequest, kw_only=True):
    """A request to ``/score``, which vLLM lets call the two sides in four ways."""

    queries: str | list[str] | None = None
    documents: str | list[str] | None = None
    items: str | list[str] | None = None
    data_1: str | list[str] | None = None
    data_2: str | list[str] | None = None
    text_1: str | list[str] | None = None
    text_2: str | list[str] | None = None


class RerankRequest(PairRequest, kw_only=True):
    """A request to ``/rerank``; only the best ``top_n`` come back, all of them for 0."""

    query: str
    documents: str | list[str]
    top_n: TokenLimit = 0


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


class Pooled(msgspec.Struct, omit_defaults=True):
    """What the model made of one text; ``spans`` are there only where they were asked for."""

    index: int
    object: str
    data: list[float] | list[list[float]] | str
    spans: list[Span] | None = None


class Span(msgspec.Struct):
    """Neighbouring tokens of one label: where they stand, in characters of the text, and their mean probability."""

    label: str
    score: float
    start: int
    end: int
    text: str


class Score(msgspec.Struct):
    """How much two texts have to do with each other."""

    index: int
    score: float
    object: str = "score"


class RerankDocument(msgspec.Struct):
    """A document as the client wrote it."""

    text: str
    multi_modal: None = None


class Ranked(msgspec.Struct):
    """A document's place in the request, and how much it has to do with the query."""

    index: int
    document: RerankDocument
    relevance_score: float


class Moderation(msgspec.Struct):
    """OpenAI's verdict on one text.

    A category that no label fills is false with the score 0 and no input types: with these OpenAI says that a category
    was not judged, and its SDK's types know no other way.
    """

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]


class ListAnswer(msgspec.Struct):
    """The answer of most endpoints; ``data`` holds an object for each text or pair, in order."""

    id: str
    created: int
    model: str
    data: Sequence[Any]
    usage: Usage
    object: str = "list"


class RerankUsage(msgspec.Struct):
    """How many tokens a request to ``/rerank`` had."""

    prompt_tokens: int
    total_tokens: int


class RerankAnswer(msgspec.Struct):
    """The answer to ``/rerank``, the best document first."""

    id: str
    model: str
    usage: RerankUsage
    results: list[Ranked]


class ModerationAnswer(msgspec.Struct):
    """The answer to ``/v1/moderations``."""

    id: str
    model: str
    results: list[Moderation]


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


AnyRequest = TypeVar("AnyRequest", bound=msgspec.Struct)

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


def texts_of(request: InputRequest) -> list[str] | list[list[int]]:
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


_SIDES = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))


def sides_of(request: ScoreRequest) -> tuple[Side, Side]:
    """Give the two sides of a request to ``/score``, by the first pair of names that is there.

    Raises ``BadRequest`` if none is whole, or if their lengths are not 1:1, 1:N or N:N.
    """
    for names in _SIDES:
        sides = [Side.of(name, getattr(request, name)) for name in names if getattr(request, name) is not None]
        if len(sides) == len(names):
            left, right = sides
            check_lengths(left, right)
            return left, right
    pairs = ", ".join(" and ".join(f"`{name}`" for name in names) for names in _SIDES)
    raise BadRequest(f"Object missing required fields: one of {pairs}")


def check_lengths(left: Side, right: Side) -> None:
    """Raise ``BadRequest`` if two sides do not make pairs."""
    if len(left.texts) > 1 and len(left.texts) != len(right.texts):
        raise BadRequest("Input lengths must be either 1:1, 1:N or N:N", param=right.name)
    if not left.texts:
        raise BadRequest("At least one text element must be given", param=left.name)
    if not right.texts:
        raise BadRequest("At least one text_pair element must be given", param=right.name)


class Side(msgspec.Struct, frozen=True):
    """The texts on one side of pairs, and the field that they came in."""

    name: str
    texts: list[str]

    @classmethod
    def of(cls, name: str, given: str | list[str]) -> Side:
        """Make one of a field's value."""
        return cls(name, [given] if isinstance(given, str) else given)

    def place(self, index: int) -> str:
        """Name one text as the client wrote it."""
        return self.name if len(self.texts) == 1 else f"{self.name}[{index}]"


def moderated_texts(request: ModerationRequest) -> list[str]:
    """Give the texts to moderate. Raises ``BadRequest`` for an empty list."""
    given = request.input
    if isinstance(given, str):
        return [given]
    if not given:
        raise BadRequest("You must pass at least one prompt", param="input")
    return [each if isinstance(each, str) else each.text for each in given]
