"""Chart: amounts over time as stacked bars, drawn by the server; every chart is also a table.

Positions are whole units of the drawing, whatever the amounts are, so that no float is made of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 240
LEFT: Final = 56
_BOTTOM: Final = 24
_TOP: Final = 12
_GRID_LINES: Final = (3, 4, 5)
_LABELS_MAX: Final = 8
_GAP: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One colour of a chart: an amount per column, none below zero."""

    name: str
    amounts: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnHead:
    """Where a column stands: ``at_s`` is its beginning in Unix seconds, ``text`` what it is called."""

    at_s: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """An amount of the table: as it is, and as it is read."""

    raw: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A row of the table below the chart."""

    at_s: int
    text: str
    values: Sequence[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A rectangle; ``series`` counts from 1 and is its colour."""

    series: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLine:
    """A horizontal line and the amount that it stands for."""

    y: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A column's name below it."""

    x: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What templates/macros/chart.html draws; ``top`` is the amount at the drawing's upper edge."""

    title: str
    unit: str
    series: Sequence[Series]
    columns: Sequence[Column]
    bars: Sequence[Bar]
    grid: Sequence[GridLine]
    labels: Sequence[Label]
    top: int
    is_empty: bool
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT

    @property
    def shapes(self) -> Sequence[str]:
        """All bars of each series as the data of one SVG path: a hundred elements fewer in a page."""
        return [
            "".join(
                f"M{bar.x} {bar.y}h{bar.width}v{bar.height}h-{bar.width}z"
                for bar in self.bars
                if bar.series == number
            )
            for number in range(1, len(self.series) + 1)
        ]


def _scale(amount: int) -> tuple[int, int]:
    """Return the top of a scale for amounts up to one, and how many steps lead there.

    Steps are what people count by, 1, 2, 2.5 or 5 times a power of ten; as little room is left above as that
    allows.
    """
    power = 10 ** max(0, len(str(amount)) - 3)
    steps = [step * power for step in (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500)]
    tops = [(step * lines, lines) for step in steps for lines in _GRID_LINES if step * lines >= amount]
    return min(tops, key=lambda top: (top[0], abs(top[1] - 4)))


def draw_chart(
    heads: Sequence[ColumnHead],
    series: Sequence[Series],
    *,
    title: str,
    unit: str,
    amount_text: Callable[[int], str],
) -> Chart:
    """Return a chart of amounts per column, stacked in the series' order.

    ``amount_text`` says an amount as people read it.
    """
    assert all(len(one.amounts) == len(heads) for one in series), "one amount per column"
    tallest = max((sum(one.amounts[at] for one in series) for at in range(len(heads))), default=0)
    top, lines = _scale(max(tallest, 1))
    room = HEIGHT - _BOTTOM - _TOP
    columns = [
        Column(
            at_s=head.at_s,
            text=head.text,
            values=[Cell(raw=one.amounts[at], text=amount_text(one.amounts[at])) for one in series],
        )
        for at, head in enumerate(heads)
    ]
    every = max(1, -(-len(heads) // _LABELS_MAX))
    return Chart(
        title=title,
        unit=unit,
        series=series,
        columns=columns,
        bars=_bars(len(heads), series, top=top, room=room),
        grid=[
            GridLine(y=_TOP + room - room * line // lines, text=amount_text(top * line // lines))
            for line in range(lines + 1)
        ],
        labels=[
            Label(x=_left_of(at, len(heads)) + _width(len(heads)) // 2, text=head.text)
            for at, head in enumerate(heads)
            if at % every == 0
        ],
        top=top,
        is_empty=tallest == 0,
    )


def _left_of(column: int, count: int) -> int:
    return LEFT + (WIDTH - LEFT) * column // count


def _width(count: int) -> int:
    return max(2, (WIDTH - LEFT) // count - _GAP)


def _bars(count: int, series: Sequence[Series], *, top: int, room: int) -> Sequence[Bar]:
    bars = []
    for at in range(count):
        below = 0
        for number, one in enumerate(series, 1):
            amount = one.amounts[at]
            foot, below = below, below + amount
            low, high = room * foot // top, room * below // top
            if amount:
                bars.append(
                    Bar(
                        series=number,
                        x=_left_of(at, count),
                        y=_TOP + room - max(high, low + 1),
                        width=_width(count),
                        height=max(high - low, 1),
                    )
                )
    return bars
