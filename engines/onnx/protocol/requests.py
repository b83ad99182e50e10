"""The fields of each endpoint's requests.

Fields that are not named here are ignored, as vLLM does. A field whose effect this engine does not have is named with
the values that change nothing, so that any other value is refused instead of being ignored silently.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

MOST_TEXTS = 65_536
"""How many texts a request may have: each takes some kilobytes until the response is sent, and a megabyte of JSON can
hold 250,000."""

_Listed = msgspec.Meta(max_length=MOST_TEXTS)

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class TextRequest(msgspec.Struct, kw_only=True):
    """The fields that every request about texts has.

    A text becomes at most ``truncate_prompt_tokens`` tokens, its special tokens among them; -1 stands for the model's
    limit, and ``truncation_side`` says which end is cut off. That is vLLM's way to say it. Others say whether a text
    that is too long is cut to the model's limit or refused: ``truncate`` is a boolean of Jina and text-embeddings-
    inference, and one of three words of Cohere, which name the end that is cut off; ``truncation`` is Voyage's.
    """

    model: str | None = None
    request_id: str | None = None
    truncate_prompt_tokens: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    truncate: bool | Literal["NONE", "START", "END"] | None = None
    truncation: bool | None = None
    use_activation: bool | None = None
    padding: Literal["do_not_pad"] | None = None
    priority: Literal[0] = 0
    normalize: Any = msgspec.UNSET

    @property
    def cuts(self) -> bool | None:
        """Whether a text that is too long is to be cut to the model's limit; ``None`` if the request does not say."""
        if self.truncate is None:
            return self.truncation
        return self.truncate not in (False, "NONE")

    @property
    def side(self) -> Literal["left", "right"]:
        """The end of a text at which it is cut."""
        return self.truncation_side or ("left" if self.truncate == "START" else "right")


class InputRequest(TextRequest, kw_only=True):
    """A request about each text of ``input``: one text or one list of token ids, or a list of either."""

    input: str | Annotated[list[str | TokenId | list[TokenId]], _Listed]
    add_special_tokens: bool = True


class Explain(msgspec.Struct, forbid_unknown_fields=True):
    """How a class is explained: which one (the predicted one without ``label``), and by how many words.

    A text of more than ``max_words`` words is explained by so many groups of neighbouring words. Of these, or of the
    words, the ``top`` ones of the greatest weight are given, all of them without.
    """

    label: str | None = None
    top: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_words: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 64


class ClassifyRequest(InputRequest, kw_only=True):
    """A request to ``/classify``; ``use_activation`` false asks for logits instead of probabilities.

    ``explain`` is not vLLM's: it asks how much each word of a text adds to its class.
    """

    explain: bool | Explain | None = None

    @property
    def explained(self) -> Explain | None:
        """How to explain the classes, ``None`` if that is not asked for."""
        return Explain() if self.explain is True else self.explain or None


class EmbedRequest(InputRequest, kw_only=True):
    """A request to ``/v1/embeddings``; ``use_activation`` false asks for vectors that are not normalised.

    ``embed_dtype`` and ``endianness`` matter to the ``base64`` encoding only.
    """

    encoding_format: Literal["float", "base64"] = "float"
    embed_dtype: Literal["float32", "float16"] = "float32"
    endianness: Literal["native", "little", "big"] = "native"
    dimensions: int | None = None


class SuggestRequest(TextRequest, kw_only=True):
    """A request to ``/v1/suggest``: the ``count`` texts of ``input`` that are most worth labelling.

    ``probs`` are what a classifier says of the same texts, as ``/classify`` gives it for each of them.
    """

    input: str | Annotated[list[str], msgspec.Meta(min_length=1, max_length=10_000)]
    probs: list[list[Probability]] | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10


class PoolingRequest(EmbedRequest, kw_only=True):
    """A request to ``/pooling``: vectors or probabilities, of texts or of their tokens, as the model has them.

    ``return_spans`` is not vLLM's: it asks a model that classifies tokens for the places in the text besides.
    """

    task: str | None = None
    return_spans: bool = False


class ModerationRequest(TextRequest, kw_only=True):
    """A request to ``/v1/moderations``; ``input`` is a text, a list of texts, or a list of OpenAI's text parts."""

    input: str | Annotated[list[str | ModerationPart], _Listed]


class ModerationPart(msgspec.Struct):
    """A text among OpenAI's inputs of several kinds."""

    type: Literal["text"]
    text: str


Count = Annotated[int, msgspec.Meta(ge=0)]
"""A number of tokens or documents; 0 stands for all of them."""


class PairRequest(TextRequest, kw_only=True):
    """What requests about pairs of texts have: how many tokens either may have before the pair is made, 0 for all."""

    max_tokens_per_query: Count = 0
    max_tokens_per_doc: Count = 0
    instruction: None = None
    chat_template_kwargs: None = None


class TextDocument(msgspec.Struct):
    """A text as Cohere and Jina let write it, as an object; its other fields are ignored."""

    text: str


Text = str | TextDocument
Texts = Text | Annotated[list[Text], _Listed]


class ScoreRequest(PairRequest, kw_only=True):
    """A request to ``/score``, which vLLM lets call the two sides in four ways."""

    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None


class RerankRequest(PairRequest, kw_only=True):
    """A request to ``/rerank``; only the best ``top_n`` come back, all of them for 0.

    ``top_k`` is Voyage's word for it. Its clients read ``data`` of the response, with the documents themselves if they
    set ``return_documents``; a request with ``top_k`` or ``truncation`` is taken for theirs.
    """

    query: Text
    documents: Texts
    top_n: Count = 0
    top_k: Annotated[int, msgspec.Meta(ge=1)] | msgspec.UnsetType | None = msgspec.UNSET
    return_documents: bool = False

    @property
    def from_voyage(self) -> bool:
        """Whether the request has a field that only Voyage's clients send."""
        return self.top_k is not msgspec.UNSET or self.truncation is not None

    @property
    def most(self) -> int | None:
        """How many documents come back, ``None`` for all."""
        return self.top_n or self.top_k or None


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
