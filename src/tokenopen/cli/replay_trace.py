"""Replay: send each row of a trace as a chat completion, at its recorded pace or another, and add up.

read_trace    rows of a CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens
deal          which key, model and kind of reply each row gets; the same each time
run_replay    sends them through the Upstream port, until the end or Ctrl-C
"""

import asyncio
import contextlib
import csv
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tokenopen.cli.replay_reply import ReplyFacts, UnreadableReply, read_reply
from tokenopen.cli.replay_summary import RowResult, Summary
from tokenopen.ports.upstream import Upstream, UpstreamFailure, UpstreamRequest
from tokenopen.simulator.words import text_of

DEMO_TRACE: Final = Path(__file__).with_name("demo_trace.csv")

_COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
INTERRUPTED: Final = "Interrupted"


class InvalidTrace(ValueError):
    """The file is no trace; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRow:
    """One recorded call; ``index`` counts the file's rows from 0, ``offset_ms`` from the earliest row."""

    index: int
    offset_ms: float
    context_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What to send where. Raises ValueError for what cannot be.

    ``base_url`` ends in ``/v1``. Rows are dealt over ``keys`` in turn; a key named more often gets more of
    them, and is still counted as one. ``stream_percent`` of each key's rows ask for SSE. ``speed`` is a
    factor on the recorded pace, None sends as fast as it goes; in both cases at most ``concurrency`` calls
    run at once.
    """

    trace_path: Path
    base_url: str
    keys: Sequence[str]
    models: Sequence[str]
    stream_percent: int = 50
    speed: float | None = 1.0
    concurrency: int = 64
    rows_max: int | None = None
    connect_timeout_ms: int = 10_000
    reply_timeout_ms: int = 120_000

    def __post_init__(self) -> None:
        if not self.keys or not self.models:
            raise ValueError("a replay needs at least one key and one model")
        if not 0 <= self.stream_percent <= 100:
            raise ValueError("stream_percent is 0 to 100")
        if self.speed is not None and self.speed <= 0:
            raise ValueError("speed is a factor above 0")
        if self.concurrency < 1:
            raise ValueError("concurrency is 1 or more")

    @property
    def distinct_keys(self) -> list[str]:
        """The keys, each once, in the order in which they first come."""
        return list(dict.fromkeys(self.keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class DealtCall:
    """One row, and how it is sent; ``key_index`` counts the distinct keys."""

    row: TraceRow
    key_index: int
    model: str
    stream: bool


def read_trace(path: Path, *, rows_max: int | None = None) -> list[TraceRow]:
    """Return the rows by time; lines that begin with ``#`` are remarks. Raises InvalidTrace, OSError."""
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(line for line in lines if not line.startswith("#"))
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InvalidTrace(f"{path} has no column {' and none '.join(missing)}")
        timed = []
        for index, record in enumerate(reader):
            if rows_max is not None and index >= rows_max:
                break
            try:
                timed.append(_read_row(index, record))
            except (ValueError, TypeError) as error:
                raise InvalidTrace(f"{path}, row {index + 1}: {error}") from None
    timed.sort(key=lambda entry: entry[0])
    first = timed[0][0] if timed else 0.0
    return [
        TraceRow(index=index, offset_ms=at_ms - first, context_tokens=context, generated_tokens=generated)
        for at_ms, index, context, generated in timed
    ]


def _read_row(index: int, record: dict[str, str]) -> tuple[float, int, int, int]:
    # Digits beyond microseconds, of which Azure's traces have one, are dropped by Python.
    at = datetime.fromisoformat(record["TIMESTAMP"])
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    context, generated = int(record["ContextTokens"]), int(record["GeneratedTokens"])
    if context < 0 or generated < 0:
        raise ValueError("a number of tokens is negative")
    return at.timestamp() * 1000, index, context, generated


def deal(rows: Sequence[TraceRow], options: ReplayOptions) -> list[DealtCall]:
    """Return how each row is sent.

    A key's own rows go through the models in turn, and within a model through JSON and SSE by share, so
    that with many keys and models every combination comes up.
    """
    indexes = {key: index for index, key in enumerate(options.distinct_keys)}
    rows_of_key = dict.fromkeys(options.keys, 0)
    dealt = []
    for position, row in enumerate(rows):
        key = options.keys[position % len(options.keys)]
        turn, model_index = divmod(rows_of_key[key], len(options.models))
        rows_of_key[key] += 1
        percent = options.stream_percent
        dealt.append(
            DealtCall(
                row=row,
                key_index=indexes[key],
                model=options.models[model_index],
                stream=(turn + 1) * percent // 100 > turn * percent // 100,
            )
        )
    return dealt


def request_body(call: DealtCall) -> bytes:
    """Return the chat completion that stands for a row: as many words as it had tokens.

    A row that generated nothing is sent with a maximum of 1, the least that providers take.
    """
    body: dict[str, object] = {
        "model": call.model,
        "messages": [{"role": "user", "content": text_of(call.row.context_tokens).decode()}],
        "max_tokens": max(1, call.row.generated_tokens),
    }
    if call.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


async def run_replay(
    options: ReplayOptions,
    upstream: Upstream,
    *,
    on_row: Callable[[RowResult], None] | None = None,
    console: Console | None = None,
) -> Summary:
    """Send the trace and return what came of it; ``on_row`` sees each row's result as it comes.

    With a console, a progress bar is shown. The first Ctrl-C sends no more rows and waits for those that
    run, the second one cuts them. Raises InvalidTrace, OSError.
    """
    rows = await asyncio.to_thread(read_trace, options.trace_path, rows_max=options.rows_max)
    replay = _Replay(options, upstream, deal(rows, options), on_row)
    with _progress(console, len(rows), replay), _interruptible(replay):
        return await replay.run()


class _Replay:
    """One run: as many senders as calls may run at once, which take the rows in order."""

    def __init__(
        self,
        options: ReplayOptions,
        upstream: Upstream,
        calls: Sequence[DealtCall],
        on_row: Callable[[RowResult], None] | None,
    ) -> None:
        self.summary = Summary(rows=len(calls), keys=len(options.distinct_keys))
        self.on_progress: Callable[[], None] = lambda: None
        self._options = options
        self._upstream = upstream
        self._calls = iter(calls)
        self._senders_max = max(1, min(options.concurrency, len(calls)))
        self._on_row = on_row
        self._url = options.base_url.rstrip("/") + "/chat/completions"
        self._headers = [
            ((b"authorization", b"Bearer " + key.encode()), (b"content-type", b"application/json"))
            for key in options.distinct_keys
        ]
        self._stopping = asyncio.Event()
        self._senders: list[asyncio.Task[None]] = []
        self._started_s = 0.0

    async def run(self) -> Summary:
        self._started_s = time.perf_counter()
        self._senders = [asyncio.create_task(self._send_rows()) for _ in range(self._senders_max)]
        try:
            # A sender fails only where an observer of its results does; then the rest is pointless.
            await asyncio.wait(self._senders, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for sender in self._senders:
                sender.cancel()
        outcomes = await asyncio.gather(*self._senders, return_exceptions=True)
        self.summary.duration_s = time.perf_counter() - self._started_s
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return self.summary

    def interrupt(self) -> None:
        """Send no more rows; the second time, cut those that run."""
        if self._stopping.is_set():
            for sender in self._senders:
                sender.cancel()
        self._stopping.set()

    async def _send_rows(self) -> None:
        for call in self._calls:
            await self._until_due(call.row)
            if self._stopping.is_set():
                return
            result = await self._send(call)
            self.summary.add(result)
            if self._on_row is not None:
                self._on_row(result)
            self.on_progress()
            if result.failure == INTERRUPTED:
                return

    async def _until_due(self, row: TraceRow) -> None:
        if self._options.speed is None:
            return
        due_s = self._started_s + row.offset_ms / 1000 / self._options.speed
        wait_s = due_s - time.perf_counter()
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
        else:
            self.summary.behind_ms_max = max(self.summary.behind_ms_max, -wait_s * 1000)

    async def _send(self, call: DealtCall) -> RowResult:
        started_s = time.perf_counter()
        facts, failure = ReplyFacts(), None
        try:
            facts = await self._exchange(call)
            failure = facts.failure
        except UpstreamFailure as error:
            failure = type(error).__name__
        except UnreadableReply:
            failure = UnreadableReply.__name__
        except asyncio.CancelledError:
            failure = INTERRUPTED
        return RowResult(
            row=call.row.index,
            key_index=call.key_index,
            model=call.model,
            stream=call.stream,
            call_id=facts.call_id,
            status=facts.status,
            code=facts.code,
            failure=failure,
            prompt_tokens=facts.prompt_tokens,
            completion_tokens=facts.completion_tokens,
            charge=facts.charge,
            latency_ms=(time.perf_counter() - started_s) * 1000,
            upstream_ms=facts.upstream_ms,
        )

    async def _exchange(self, call: DealtCall) -> ReplyFacts:
        reply = await self._upstream.send(
            UpstreamRequest(
                method=b"POST",
                url=self._url,
                headers=self._headers[call.key_index],
                body=request_body(call),
                connect_timeout_ms=self._options.connect_timeout_ms,
                first_byte_timeout_ms=self._options.reply_timeout_ms,
                idle_timeout_ms=self._options.reply_timeout_ms,
            )
        )
        try:
            pieces = []
            while piece := await reply.read():
                pieces.append(piece)
        finally:
            reply.close()
        return read_reply(reply.status, reply.headers, b"".join(pieces))


@contextlib.contextmanager
def _interruptible(replay: _Replay) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, replay.interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextlib.contextmanager
def _progress(console: Console | None, rows: int, replay: _Replay) -> Iterator[None]:
    if console is None:
        yield
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with progress:
        task = progress.add_task("replay", total=rows, counts="")

        def show() -> None:
            total = replay.summary.total
            counts = f"{total.answered} answered, {total.refused_calls} refused, {total.failed_calls} failed"
            progress.update(task, completed=total.calls, counts=counts)

        replay.on_progress = show
        yield
