"""The token rule, without a process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.simulator.chat import answer
from tokenopen.simulator.reply import Refused
from tokenopen.simulator.words import (
    TEXT_WORDS_MAX,
    Part,
    count_content,
    count_prompt_input,
    count_words,
    piece_of,
    spread,
    text_of,
)


@given(st.integers(0, 20_000))
def test_a_text_of_n_words_has_n_words(words: int) -> None:
    assert count_words(text_of(words).decode()) == words


@given(st.integers(0, 9_000), st.integers(1, 200))
def test_the_pieces_of_a_text_are_the_text(words: int, pieces: int) -> None:
    spans = spread(words, pieces)
    assert len(spans) == min(words, pieces)
    assert all(start < end for start, end in spans)
    assert b"".join(piece_of(start, end) for start, end in spans) == text_of(words)


def test_any_white_space_parts_words() -> None:
    assert count_words(" one\ttwo\n three\u00a0four ") == 4


def test_content_counts_its_texts_and_nothing_else() -> None:
    assert count_content(None) == 0
    assert count_content("a b c") == 3
    assert count_content([Part(text="a b"), Part(), Part(text="c")]) == 3


@pytest.mark.parametrize(
    ("given_input", "tokens", "inputs"),
    [
        ("a b", 2, 1),
        (["a b", "c"], 3, 2),
        ([11, 12, 13], 3, 1),
        ([[11, 12], [13]], 3, 2),
    ],
)
def test_prompts_may_be_texts_or_token_ids(
    given_input: str | list[str | int | list[int]], tokens: int, inputs: int
) -> None:
    assert count_prompt_input(given_input) == (tokens, inputs)


@pytest.mark.parametrize("maximum", [0, -1, TEXT_WORDS_MAX + 1])
def test_an_output_maximum_no_provider_takes_is_refused(maximum: int) -> None:
    body = b'{"model":"m","messages":[{"content":"x"}],"max_tokens":%d}' % maximum
    with pytest.raises(Refused) as refused:
        answer(body)
    assert refused.value.status == 400
