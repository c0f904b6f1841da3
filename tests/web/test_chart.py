"""Charts: what is drawn is what the table says."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.web.chart import HEIGHT, WIDTH, Chart, ColumnHead, Series, draw_chart
from tokenopen.web.format import number


def _chart(amounts: list[list[int]]) -> Chart:
    heads = [ColumnHead(at_s=at * 86_400, text=f"day {at}") for at in range(len(amounts[0]))]
    series = [Series(name=f"series {at}", amounts=row) for at, row in enumerate(amounts)]
    return draw_chart(heads, series, title="Calls", unit="calls", amount_text=number)


@given(
    st.integers(1, 60).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 10**15), min_size=columns, max_size=columns), min_size=1, max_size=5
        )
    )
)
def test_no_bar_leaves_the_drawing_and_each_amount_has_its_bar(amounts: list[list[int]]) -> None:
    chart = _chart(amounts)
    assert len(chart.bars) == sum(amount > 0 for row in amounts for amount in row)
    for bar in chart.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert 0 <= bar.y <= bar.y + bar.height <= HEIGHT
        assert bar.height >= 1
    assert [[cell.raw for cell in column.values] for column in chart.columns] == [
        list(column) for column in zip(*amounts, strict=True)
    ]


def test_a_taller_amount_has_a_taller_bar_and_the_top_line_is_above_all() -> None:
    chart = _chart([[10, 20, 37]])
    heights = [bar.height for bar in chart.bars]
    assert heights == sorted(heights)
    assert chart.grid[0].text == "0"
    assert chart.grid[-1].text == "40"
    assert min(bar.y for bar in chart.bars) > chart.grid[-1].y


@pytest.mark.parametrize(
    ("tallest", "lines"),
    [
        (1, ["0", "1", "2", "3"]),
        (37, ["0", "10", "20", "30", "40"]),
        (108, ["0", "25", "50", "75", "100", "125"]),
        (15, ["0", "5", "10", "15"]),
        (1_000, ["0", "250", "500", "750", "1,000"]),
    ],
)
def test_lines_stand_at_what_people_count_by(tallest: int, lines: Sequence[str]) -> None:
    assert [line.text for line in _chart([[tallest]]).grid] == lines


@given(st.integers(min_value=1, max_value=10**18))
def test_at_least_half_of_the_room_is_used(tallest: int) -> None:
    chart = _chart([[tallest]])
    assert chart.top >= tallest
    assert tallest < 3 or chart.top <= tallest * 2
    assert chart.top % (len(chart.grid) - 1) == 0


def test_a_chart_of_nothing_says_so() -> None:
    assert _chart([[0, 0]]).is_empty
