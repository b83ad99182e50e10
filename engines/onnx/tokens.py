"""Texts to token ids and back, with the model's limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from engines.onnx.errors import BadRequest, ModelError
from engines.onnx.protocol import PoolingRequest, TokenizeRequest, texts_of

MAX_PROMPT_CHARACTERS = 1_000_000
"""The longest prompt that ``/tokenize`` takes: about a second of one core."""

TokenIds = Sequence[int]


class PromptTokenizer:
    """The model's tokenizer and its limit of ``max_length`` tokens; safe to use from several threads.

    Truncation and padding that the file asks for are switched off: the request decides on the one, the batch on the
    other.
    """

    def __init__(self, file: Path, max_length: int | None = None) -> None:
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
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if self.max_length <= self._specials:
            raise ModelError(
                file, f"a limit of {self.max_length} tokens has no room beside {self._specials} special ones"
            )
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocabulary_size: int = max(vocabulary.values()) + 1
        self._max_characters = self.max_length * max(map(len, vocabulary))

    def encode(self, request: PoolingRequest) -> list[TokenIds]:
        """Turn a request's inputs into token ids, none longer than the model's limit.

        Raises ``BadRequest`` naming the input that is empty, too long, or has an id that is not in the vocabulary.
        """
        inputs = texts_of(request)
        limit = self._limit(request)
        if isinstance(inputs[0], str):
            texts = self._encode_texts(inputs, request, limit)
        else:
            given = inputs
            texts = [self._check_ids(ids, index, request, limit) for index, ids in enumerate(given)]
        for index, text in enumerate(texts):
            if not text:
                raise BadRequest("The prompt cannot be empty", param=_place(request, index))
            if len(text) > self.max_length:
                raise BadRequest(
                    f"This model's maximum context length is {self.max_length} tokens. However, your prompt contains "
                    f"{len(text)} input tokens, which exceeds this limit even without any output tokens. "
                    "Please reduce the length of the input prompt.",
                    param=_place(request, index),
                )
        return texts

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

    def _limit(self, request: PoolingRequest) -> int | None:
        """Say to how many tokens the request wants its inputs cut, ``None`` for not at all."""
        wanted = request.truncate_prompt_tokens
        if wanted is None or wanted == -1:
            return None if wanted is None else self.max_length
        if wanted > self.max_length:
            raise BadRequest(
                f"truncate_prompt_tokens={wanted} cannot be greater than max_model_len = {self.max_length}. "
                "Please request a smaller truncation size.",
                param="truncate_prompt_tokens",
            )
        return wanted

    def _encode_texts(self, texts: Sequence[str], request: PoolingRequest, limit: int | None) -> list[TokenIds]:
        specials = self._specials if request.add_special_tokens else 0
        if limit is not None and limit <= specials:
            raise BadRequest(
                f"truncate_prompt_tokens={limit} leaves no room beside the model's {specials} special tokens",
                param="truncate_prompt_tokens",
            )
        bounded = [self._bound(text, index, request, limit) for index, text in enumerate(texts)]
        encodings = self._tokenizer.encode_batch_fast(bounded, add_special_tokens=False)
        for encoding in encodings:
            if limit is not None and len(encoding) > limit - specials:
                encoding.truncate(limit - specials, direction=request.truncation_side or "right")
        if specials:
            encodings = [self._tokenizer.post_process(encoding) for encoding in encodings]
        return [encoding.ids for encoding in encodings]

    def _bound(self, text: str, index: int, request: PoolingRequest, limit: int | None) -> str:
        """Keep a text that is certainly too long away from the tokenizer, which needs a second for each megabyte."""
        if len(text) <= self._max_characters:
            return text
        if limit is None:
            raise BadRequest(
                f"This model's maximum context length is {self.max_length} tokens. However, your prompt contains "
                f"{len(text)} characters (more than {self._max_characters} characters, which is the upper bound for "
                f"{self.max_length} input tokens). Please reduce the length of the input prompt.",
                param=_place(request, index),
            )
        return text[-self._max_characters :] if request.truncation_side == "left" else text[: self._max_characters]

    def _check_ids(self, ids: Sequence[int], index: int, request: PoolingRequest, limit: int | None) -> TokenIds:
        """Check the client's own ids, which are used as they are, without special tokens."""
        if limit is not None and len(ids) > limit:
            ids = ids[len(ids) - limit :] if request.truncation_side == "left" else ids[:limit]
        self._check_vocabulary(ids, _place(request, index))
        return ids

    def _check_vocabulary(self, ids: Sequence[int], param: str) -> None:
        if ids and max(ids) >= self.vocabulary_size:
            raise BadRequest(
                f"Token id {max(ids)} is out of vocabulary, which has {self.vocabulary_size} tokens", param=param
            )


def _place(request: PoolingRequest, index: int) -> str:
    """Name one input as the client wrote it: a lone text is ``input``, one of a list ``input[3]``."""
    given = request.input
    return "input" if isinstance(given, str) or isinstance(given[0], int) else f"input[{index}]"
