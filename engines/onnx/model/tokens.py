"""Texts to token ids and back, with the model's limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tokenizers import Encoding, Tokenizer

from engines.onnx.errors import BadRequest, ModelError
from engines.onnx.protocol.inputs import Side, texts_of
from engines.onnx.protocol.requests import InputRequest, PairRequest, TextRequest, TokenizeRequest

MAX_PROMPT_CHARACTERS = 1_000_000
"""The longest prompt that ``/tokenize`` takes: about a second of one core."""

TokenIds = Sequence[int]
Ids = TypeVar("Ids", bound=Sequence[int])


class PairIds(list[int]):
    """The token ids of two texts in one; the first ``first`` of them are of the first text."""

    __slots__ = ("first",)

    def __init__(self, encoding: Encoding) -> None:
        super().__init__(encoding.ids)
        kinds = encoding.type_ids
        self.first = kinds.index(1) if 1 in kinds else len(kinds)


class PlacedIds(list[int]):
    """Token ids with the place of each in its text: first character and the one after; a special token has none."""

    __slots__ = ("places",)

    def __init__(self, encoding: Encoding, offset: int) -> None:
        super().__init__(encoding.ids)
        marked = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        self.places = [None if special else (start + offset, end + offset) for (start, end), special in marked]


class EachTokenIds(list[int]):
    """The token ids of a text of which each token's vector is wanted, not one for all of them."""

    __slots__ = ()


class PromptTokenizer:
    """The model's tokenizer and its limit of ``max_length`` tokens; safe to use from several threads.

    Truncation and padding that the file asks for are switched off: the request decides on the one, the batch on the
    other. Where a request says nothing, a text that is too long is cut if ``truncate``, and refused otherwise.
    """

    def __init__(self, file: Path, max_length: int | None = None, *, truncate: bool = False) -> None:
        """Read the tokenizer; without ``max_length`` the limit is the file's own truncation.

        Raises ``ModelError`` when the file is missing or broken, or when nothing says what the limit is.
        """
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # The library raises plain Exceptions only.
            raise ModelError(file, f"not a tokenizer that can be read: {error}") from error
        truncation = self._tokenizer.truncation or {}
        if max_length is None and not truncation:
            raise ModelError(file, "says nothing about the longest input; give --max-length")
        self.max_length = int(max_length or truncation["max_length"])
        self._truncate = truncate
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._pair_specials = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        if self.max_length <= self._specials:
            raise ModelError(
                file, f"a limit of {self.max_length} tokens has no room beside {self._specials} special ones"
            )
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise ModelError(file, "has no vocabulary")
        self.vocabulary_size: int = max(vocabulary.values()) + 1
        self._max_characters = self.max_length * max(map(len, vocabulary))

    def encode(self, request: InputRequest) -> list[TokenIds]:
        """Turn a request's inputs into token ids, none longer than the model's limit.

        Raises ``BadRequest`` naming the input that is empty, too long, or has an id that is not in the vocabulary.
        """
        inputs = texts_of(request)
        if isinstance(inputs[0], str):
            return self.encode_texts(inputs, request, _places(request), specials=request.add_special_tokens)
        limit, place = self._limit(request), _places(request)
        given = inputs
        return self._checked([self._check_ids(ids, place(at), request, limit) for at, ids in enumerate(given)], place)

    def encode_texts(
        self,
        texts: Sequence[str],
        request: TextRequest,
        place: Callable[[int], str],
        *,
        specials: bool = True,
        at_most: int = 0,
    ) -> list[TokenIds]:
        """Turn texts into token ids, as ``encode`` does; ``place`` names one of them in an error.

        With ``at_most`` a text keeps only so many tokens of its own, from its beginning.
        """
        encodings, _ = self._encodings(texts, request, place, specials=specials, at_most=at_most)
        return self._checked([encoding.ids for encoding in encodings], place)

    def encode_places(self, request: InputRequest, asked_by: str) -> list[PlacedIds]:
        """Turn texts into token ids that know their places, which the field ``asked_by`` of the request asks for.

        Raises ``BadRequest``, for inputs of token ids too.
        """
        inputs, place = texts_of(request), _places(request)
        if not isinstance(inputs[0], str):
            raise BadRequest("Token ids have no places in a text; give texts", param=asked_by)
        encodings, cut = self._encodings(inputs, request, place, specials=request.add_special_tokens, places=True)
        return self._checked([PlacedIds(*each) for each in zip(encodings, cut, strict=True)], place)

    def encode_pairs(self, left: Side, right: Side, request: PairRequest) -> list[PairIds]:
        """Turn pairs of texts into token ids; the only left one is paired with all on the right.

        A pair that is cut loses tokens of its longer text first, as transformers does it (``longest_first``).
        """
        limit = self._limit(request)
        room = None if limit is None else self._room(limit, self._pair_specials)
        side = request.side
        firsts, _ = self._encodings(left.texts, request, left.place, specials=False, at_most=self._first_limit(request))
        seconds, _ = self._encodings(
            right.texts, request, right.place, specials=False, at_most=self._second_limit(request)
        )
        pairs = []
        for first, second in zip(firsts * len(seconds) if len(firsts) == 1 else firsts, seconds, strict=True):
            kept = (first, second)
            if room is not None and len(first) + len(second) > room:
                sizes = _longest_first(len(first), len(second), room)
                kept = _cut(first, sizes[0], side), _cut(second, sizes[1], side)
            pairs.append(PairIds(self._tokenizer.post_process(*kept)))
        return self._checked(pairs, right.place)

    def encode_side(self, side: Side, request: PairRequest, *, first: bool) -> list[TokenIds]:
        """Turn the texts of one side of pairs into token ids, each for itself."""
        at_most = self._first_limit(request) if first else self._second_limit(request)
        return self.encode_texts(side.texts, request, side.place, at_most=at_most)

    def tokenize(self, request: TokenizeRequest) -> tuple[list[int], list[str]]:
        """Give the ids of a prompt and the strings of these ids; the model's limit does not apply."""
        if len(request.prompt) > MAX_PROMPT_CHARACTERS:
            raise BadRequest(
                f"The prompt has {len(request.prompt)} characters; at most {MAX_PROMPT_CHARACTERS} are tokenized",
                param="prompt",
            )
        encoding = self._tokenizer.encode(request.prompt, add_special_tokens=request.add_special_tokens)
        return encoding.ids, encoding.tokens

    def detokenize(self, ids: Sequence[int]) -> str:
        """Give the text of token ids, special tokens included."""
        self._check_vocabulary(ids, "tokens")
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def _limit(self, request: TextRequest) -> int | None:
        """Say to how many tokens the request wants its inputs cut, ``None`` for not at all."""
        wanted = request.truncate_prompt_tokens
        if wanted is None:
            cuts = self._truncate if request.cuts is None else request.cuts
            return self.max_length if cuts else None
        if wanted == -1:
            return self.max_length
        if wanted > self.max_length:
            raise BadRequest(
                f"truncate_prompt_tokens={wanted} cannot be greater than max_model_len = {self.max_length}. "
                "Please request a smaller truncation size.",
                param="truncate_prompt_tokens",
            )
        return wanted

    def _room(self, limit: int, specials: int) -> int:
        """Say how many tokens of its own a text keeps that is cut to ``limit``."""
        if limit <= specials:
            raise BadRequest(
                f"truncate_prompt_tokens={limit} leaves no room beside the model's {specials} special tokens",
                param="truncate_prompt_tokens",
            )
        return limit - specials

    def _first_limit(self, request: PairRequest) -> int:
        return self._below_the_limit("max_tokens_per_query", request.max_tokens_per_query)

    def _second_limit(self, request: PairRequest) -> int:
        return self._below_the_limit("max_tokens_per_doc", request.max_tokens_per_doc)

    def _below_the_limit(self, name: str, value: int) -> int:
        if value >= self.max_length:
            raise BadRequest(f"{name} ({value}) must be less than max_model_len ({self.max_length}).", param=name)
        return value

    def _encodings(
        self,
        texts: Sequence[str],
        request: TextRequest,
        place: Callable[[int], str],
        *,
        specials: bool,
        at_most: int = 0,
        places: bool = False,
    ) -> tuple[list[Encoding], list[int]]:
        """Tokenize texts and cut them; gives also how many characters each had lost at its beginning before that."""
        count = self._specials if specials else 0
        limit = self._limit(request)
        room = None if limit is None else self._room(limit, count)
        side = request.side
        cuts = limit is not None or at_most > 0
        kept = "right" if at_most else side
        bounded = [self._bound(text, place(index), kept, cuts=cuts) for index, text in enumerate(texts)]
        # Without places it is faster.
        encode = self._tokenizer.encode_batch if places else self._tokenizer.encode_batch_fast
        encodings = encode(bounded, add_special_tokens=False)
        for encoding in encodings:
            if at_most:
                encoding.truncate(at_most)
            if room is not None and len(encoding) > room:
                encoding.truncate(room, direction=side)
        if specials:
            encodings = [self._tokenizer.post_process(encoding) for encoding in encodings]
        lost = [len(text) - len(cut) if kept == "left" else 0 for text, cut in zip(texts, bounded, strict=True)]
        return encodings, lost

    def _bound(self, text: str, place: str, side: str, *, cuts: bool) -> str:
        """Keep a text that is certainly too long away from the tokenizer, which needs a second for each megabyte."""
        if len(text) <= self._max_characters:
            return text
        if not cuts:
            raise BadRequest(
                f"This model's maximum context length is {self.max_length} tokens. However, your prompt contains "
                f"{len(text)} characters (more than {self._max_characters} characters, which is the upper bound for "
                f"{self.max_length} input tokens). Please reduce the length of the input prompt.",
                param=place,
            )
        return text[-self._max_characters :] if side == "left" else text[: self._max_characters]

    def _check_ids(self, ids: Sequence[int], place: str, request: TextRequest, limit: int | None) -> TokenIds:
        """Check the client's own ids, which are used as they are, without special tokens."""
        if limit is not None and len(ids) > limit:
            ids = ids[len(ids) - limit :] if request.side == "left" else ids[:limit]
        self._check_vocabulary(ids, place)
        return ids

    def _check_vocabulary(self, ids: Sequence[int], param: str) -> None:
        if ids and max(ids) >= self.vocabulary_size:
            raise BadRequest(
                f"Token id {max(ids)} is out of vocabulary, which has {self.vocabulary_size} tokens", param=param
            )

    def _checked(self, texts: list[Ids], place: Callable[[int], str]) -> list[Ids]:
        """Give the texts back if none is empty or too long."""
        for index, text in enumerate(texts):
            if not text:
                raise BadRequest("The prompt cannot be empty", param=place(index))
            if len(text) > self.max_length:
                raise BadRequest(
                    f"This model's maximum context length is {self.max_length} tokens. However, your prompt contains "
                    f"{len(text)} input tokens, which exceeds this limit even without any output tokens. "
                    "Please reduce the length of the input prompt.",
                    param=place(index),
                )
        return texts


def _places(request: InputRequest) -> Callable[[int], str]:
    """Name an input as the client wrote it: a lone text is ``input``, one of a list ``input[3]``."""
    given = request.input
    alone = isinstance(given, str) or isinstance(given[0], int)
    return lambda index: "input" if alone else f"input[{index}]"


def _longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Share ``room`` tokens among two texts that need more together, at the cost of the longer one."""
    short = min(first, second, room // 2)
    return (short, room - short) if first <= second else (room - short, short)


def _cut(encoding: Encoding, size: int, side: str) -> Encoding:
    """Give a cut copy: a text may be part of several pairs."""
    copy = Encoding.merge([encoding], growing_offsets=False)
    copy.truncate(size, direction=side)
    return copy
