"""Log probabilities as chat completions report them: one entry per word."""

import msgspec

from tokenopen.simulator.words import piece_of


def _entry(word: bytes, probability_log: float) -> dict[str, object]:
    return {"token": word.decode(), "logprob": probability_log, "bytes": list(word)}


def logprobs_of(start: int, end: int, *, top: int) -> bytes:
    """Return the ``logprobs`` object for words ``start`` to ``end``, each with ``top`` likeliest words."""
    content = []
    for index in range(start, end):
        entry = _entry(piece_of(index, index + 1), -0.25)
        entry["top_logprobs"] = [
            _entry(piece_of(index + rank, index + rank + 1), -0.25 - rank) for rank in range(top)
        ]
        content.append(entry)
    return msgspec.json.encode({"content": content, "refusal": None})
