"""HTTP that no client sends, over every API; ``make trial-hostile`` adds 10,000 made requests to it."""

import secrets
from pathlib import Path

import pytest
from trials.hostile import run_trial
from trials.hostile_bodies import hostile_bodies
from trials.hostile_heads import hostile_heads
from trials.raw_http import Answered, Case, read_answers

MADE = 300


def test_hostile_requests_are_refused_cost_nothing_and_leave_nothing_behind(tmp_path: Path) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    outcome = run_trial(tmp_path, made=MADE, seed=seed)
    print(outcome.counts)
    assert outcome.violations == []


def test_there_are_more_than_400_cases_each_of_another_name() -> None:
    cases = [*hostile_heads("k"), *hostile_bodies("k", "m")]
    assert len(cases) > 400
    assert len({case.name for case in cases}) == len(cases)


@pytest.mark.parametrize(
    ("raw", "statuses", "whole"),
    [
        (b"", [], False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", [], False),
        (b"HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\nn", [400], False),
        (b"HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\nno", [400], True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n", [200], False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", [200], True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 No\r\n\r\n", [200, 500], False),
    ],
)
def test_a_second_answer_is_seen(raw: bytes, statuses: list[int], whole: bool) -> None:
    assert read_answers(raw, without_body=False) == (statuses, whole)


def test_what_is_let_through_is_seen() -> None:
    case = Case(name="x", pieces=[b""])
    for statuses, in_time in (([200], True), ([500], True), ([400, 200], True), ([], False)):
        answer = Answered(statuses=statuses, in_time=in_time, seconds=0, raw=b"HTTP/1.1 ")
        assert answer.mistake(case) is not None
    assert Answered(statuses=[400], in_time=True, seconds=0, raw=b"HTTP/1.1 ").mistake(case) is None
