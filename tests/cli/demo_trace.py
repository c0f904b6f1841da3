"""How the demo's trace was made; run as a script it writes the file anew."""

import random
from datetime import UTC, datetime, timedelta

from tokenopen.cli.replay_trace import DEMO_TRACE

_ROWS = 300
_SEED = 20260105
_FIRST = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_GAP_MS_MAX = 800

# Up to which percent of all calls, then the least and the most tokens in and out.
_KINDS = (
    (60, (12, 400), (20, 300)),  # a question in a chat
    (85, (800, 6000), (60, 400)),  # a long document, or a long conversation
    (100, (200, 2000), (4, 40)),  # code to be completed
)


def demo_trace_text() -> str:
    """Return the file's text. Only ``random()`` is drawn, whose sequence Python keeps across versions."""
    draw = random.Random(_SEED).random

    def between(bounds: tuple[int, int]) -> int:
        # Squared, because short ones are more frequent than long ones.
        return bounds[0] + int(draw() ** 2 * (bounds[1] - bounds[0] + 1))

    lines = [
        f"# {_ROWS} made-up calls over two minutes: 60 % chat, 25 % long documents, 15 % code completion;",
        "# made by tests/cli/demo_trace.py from a fixed seed.",
        "TIMESTAMP,ContextTokens,GeneratedTokens",
    ]
    at = _FIRST
    for _ in range(_ROWS):
        share = draw() * 100
        _, context, generated = next(kind for kind in _KINDS if share < kind[0])
        lines.append(
            f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d},{between(context)},{between(generated)}"
        )
        at += timedelta(milliseconds=1 + int(draw() * _GAP_MS_MAX))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DEMO_TRACE.write_text(demo_trace_text())
