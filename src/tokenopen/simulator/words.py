"""The token rule: a word is a token. Counting them, and texts of any exact number of words.

All words written here have the same length, so that a text of n words is a slice and not n joins.
"""

from itertools import pairwise
from typing import Final

import msgspec

_CYCLE: Final = b"alpha bravo delta hotel india oscar romeo tango "
_WORDS_PER_CYCLE: Final = 8
_WORD_BYTES: Final = 6  # five letters and the space after them

TEXT_WORDS_MAX: Final = 200_000
"""More words than that are refused by the endpoints, as a provider refuses an output maximum."""

_LONG_WORDS: Final = 4096
_LONG: Final = _CYCLE * (_LONG_WORDS // _WORDS_PER_CYCLE)


def text_of(words: int) -> bytes:
    """Return ASCII text of exactly that many words; it needs no escaping in JSON."""
    return piece_of(0, words)


def piece_of(start: int, end: int) -> bytes:
    """Return words ``start`` to ``end`` (exclusive) of the text; but for the first, led by their space."""
    if end <= start:
        return b""
    text = _LONG if end <= _LONG_WORDS else _CYCLE * (end // _WORDS_PER_CYCLE + 1)
    return text[max(0, start * _WORD_BYTES - 1) : end * _WORD_BYTES - 1]


def spread(words: int, pieces: int) -> list[tuple[int, int]]:
    """Return (start, end) of at most that many pieces, none of them empty, which cover all words evenly."""
    count = max(1, min(pieces, words))
    cuts = [words * index // count for index in range(count + 1)]
    return list(pairwise(cuts)) if words else []


def count_words(text: str) -> int:
    """Return how many tokens a text is: its words, parted by any white space."""
    return len(text.split())


class Part(msgspec.Struct):
    """A part of a message's content; what is no text counts nothing."""

    text: str = ""


Content = str | list[Part] | None


def count_content(content: Content) -> int:
    """Return how many tokens a message's content is."""
    if isinstance(content, str):
        return count_words(content)
    return 0 if content is None else sum(count_words(part.text) for part in content)


PromptInput = str | list[str | int | list[int]]


def count_prompt_input(given: PromptInput) -> tuple[int, int]:
    """Return (tokens, inputs) of a text, a list of texts, a list of token ids, or a list of such lists."""
    if isinstance(given, str):
        return count_words(given), 1
    tokens = 0
    inputs = 0
    for item in given:
        if isinstance(item, int):
            tokens += 1
        else:
            inputs += 1
            tokens += count_words(item) if isinstance(item, str) else len(item)
    return tokens, inputs or 1
