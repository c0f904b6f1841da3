"""The till: the one writer that admits and settles calls, many in one transaction.

Whatever has gathered while the last commit ran goes into the next batch: resolutions first, since they
free credit, then admissions in arrival order. There is no artificial delay. What a batch may meet:

    StorageAway         admissions are answered so at once; resolutions stay and are tried again. Found away
                        twice, or silent, admissions do not even wait until it has been found again
    AccountsBusy        the same for the items of those accounts alone; the others are posted without them
    OutcomeUnknown      the batch is tried again and finds what was applied, so nothing doubles
    anything else       an item is at fault: the batch is halved until it stands alone, and only it fails
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter_ns
from typing import Final, Generic, TypeVar, cast

import structlog

from tokenopen.core.admission import Admission, Admitted, Resolution
from tokenopen.core.call import Outcome
from tokenopen.core.errors import StorageUnavailable
from tokenopen.gateway.meter import Meter
from tokenopen.gateway.patience import Patience
from tokenopen.ports.storage import (
    AccountsBusy,
    AdmissionAnswer,
    Batch,
    BatchAnswer,
    OutcomeUnknown,
    ResolutionAnswer,
    Storage,
    StorageAway,
)

BATCH_MAX: Final = 512
RETRY_MIN_S: Final = 0.05
RETRY_MAX_S: Final = 1.0
UNKNOWN_PATIENCE_S: Final = 0.3
# A batch waits for a lock for two seconds; one that takes twice as long hears nothing from the database.
ADMISSION_PATIENCE_S: Final = 4.0

_log = structlog.get_logger()
Item = TypeVar("Item")
Answer = TypeVar("Answer")
Part = TypeVar("Part", Resolution, Admission)


@dataclass(slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    answered: asyncio.Future[Answer]


_Resolving = _Waiting[Resolution, ResolutionAnswer]
_Admitting = _Waiting[Admission, AdmissionAnswer]


class _AtFault(Exception):
    """An item of a batch is at fault. ``repeated``: an earlier try of the whole batch may have committed."""

    def __init__(self, error: Exception, *, repeated: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.repeated = repeated


class Till:
    """Admits and resolves calls."""

    def __init__(self, storage: Storage, meter: Meter | None = None) -> None:
        self._storage = storage
        self._meter = meter or Meter()
        self._resolving: deque[_Resolving] = deque()
        self._admitting: deque[_Admitting] = deque()
        # With those who wait for a settlement: until a reply is given up, until a stream says that it lives.
        self.patience_of_replies = Patience()
        self.patience_of_streams = Patience()
        self._filled = asyncio.Event()
        self._closing = False
        # The database has been found away, and not found again since.
        self._away = False
        self._writer: asyncio.Task[None] | None = None
        # Asked for once, since asking costs a system call each time (CPython 3.11 compares process ids).
        self._loop = cast(asyncio.AbstractEventLoop, None)  # until start

    def start(self) -> None:
        """Begin to work."""
        self._loop = asyncio.get_running_loop()
        self._writer = self._loop.create_task(self._work(), name="till")

    async def close(self) -> None:
        """Write what has gathered, once, and stop."""
        self._closing = True
        self._filled.set()
        if self._writer is not None:
            await self._writer

    async def admit(self, admission: Admission) -> AdmissionAnswer:
        """Admit a call, or say why not. Refuses StorageUnavailable. Cancelling voids what was admitted."""
        if self._away:
            return StorageUnavailable()
        answered: asyncio.Future[AdmissionAnswer] = self._loop.create_future()
        self._admitting.append(_Waiting(admission, answered))
        self._filled.set()
        return await answered

    async def resolve(self, resolution: Resolution) -> ResolutionAnswer:
        """Resolve a call's hold, waiting for the database as long as it takes.

        Cancelling withdraws what has not been sent to the database; what has been may yet be done, so who
        gives up must follow with a void that must not cost.
        """
        return await self.put(resolution)

    def put(self, resolution: Resolution) -> asyncio.Future[ResolutionAnswer]:
        """Hand a resolution over without waiting for its answer."""
        answered: asyncio.Future[ResolutionAnswer] = self._loop.create_future()
        self._resolving.append(_Waiting(resolution, answered))
        self._filled.set()
        return answered

    @property
    def backlog(self) -> int:
        """How many items wait."""
        return len(self._resolving) + len(self._admitting)

    async def _work(self) -> None:
        pause_s = RETRY_MIN_S
        while True:
            if not self._away:
                await self._filled.wait()
            resolving, admitting = self._take()
            # While the database is away even a batch of nothing is posted: it finds out whether it is back.
            if not resolving and not admitting and not self._away:
                self._filled.clear()
                if self._closing:
                    return
                continue
            try:
                await self._post(resolving, admitting)
                pause_s = RETRY_MIN_S
                self._away = False
            except StorageAway as error:
                _log.warning("storage_away", error=str(error), resolutions_waiting=len(resolving))
                if pause_s > RETRY_MIN_S:
                    self._refuse_waiting()
                self._resolving.extendleft(reversed(resolving))
                for waiting in admitting:
                    _answer(waiting.answered, StorageUnavailable())
                if self._closing:
                    return
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)

    def _take(self) -> tuple[list[_Resolving], list[_Admitting]]:
        resolving: list[_Resolving] = []
        admitting: list[_Admitting] = []
        while self._resolving and len(resolving) < BATCH_MAX:
            resolution = self._resolving.popleft()
            if not resolution.answered.cancelled():
                resolving.append(resolution)
        while self._admitting and len(resolving) + len(admitting) < BATCH_MAX:
            admission = self._admitting.popleft()
            if not admission.answered.cancelled():
                admitting.append(admission)
        return resolving, admitting

    async def _post(
        self, resolving: Sequence[_Resolving], admitting: Sequence[_Admitting], *, repeated: bool = False
    ) -> None:
        """Post the items, halving around one that is at fault. Raises StorageAway."""
        try:
            answer = await self._post_known(resolving, admitting, repeated=repeated)
        except AccountsBusy as error:
            await self._post_without(error.account_ids, resolving, admitting)
            return
        except _AtFault as fault:
            if len(resolving) + len(admitting) == 1:
                _log.exception("till_item_failed")
                answered = resolving[0].answered if resolving else admitting[0].answered
                if not answered.done():
                    answered.set_exception(fault.error)
                return
            repeated = fault.repeated
            middle = len(resolving) // 2 if resolving else 0
            cut = len(admitting) // 2 if not resolving else 0
            if resolving and admitting:
                # Apart first: most batches hold both, and they seldom fail together.
                await self._post(resolving, (), repeated=repeated)
                await self._post((), admitting, repeated=repeated)
            else:
                await self._post(resolving[:middle], admitting[:cut], repeated=repeated)
                await self._post(resolving[middle:], admitting[cut:], repeated=repeated)
            return
        self._hand_out(resolving, admitting, answer)

    async def _post_without(
        self, busy: frozenset[str], resolving: Sequence[_Resolving], admitting: Sequence[_Admitting]
    ) -> None:
        """Post the items of the other accounts; resolutions of the busy ones are tried again later."""
        _log.warning("accounts_busy", accounts=sorted(busy))
        free_resolving, busy_resolving = _part(resolving, busy)
        free_admitting, busy_admitting = _part(admitting, busy)
        for waiting in busy_admitting:
            _answer(waiting.answered, StorageUnavailable())
        if busy_resolving:
            self._loop.call_later(RETRY_MAX_S, self._put_back, busy_resolving)
        if free_resolving or free_admitting:
            await self._post(free_resolving, free_admitting)

    def _put_back(self, resolving: Sequence[_Resolving]) -> None:
        self._resolving.extendleft(waiting for waiting in reversed(resolving) if not waiting.answered.done())
        self._filled.set()

    async def _post_known(
        self, resolving: Sequence[_Resolving], admitting: Sequence[_Admitting], *, repeated: bool
    ) -> BatchAnswer:
        """Post until it is known what happened. Raises StorageAway where nothing was written, _AtFault."""
        resolutions = [waiting.item for waiting in resolving]
        admissions = [waiting.item for waiting in admitting]
        begun_s = monotonic()
        pause_s = RETRY_MIN_S
        while True:
            patience = self._loop.call_later(ADMISSION_PATIENCE_S, self._refuse_waiting, admitting)
            posted_ns = perf_counter_ns()
            try:
                answer = await self._storage.post(
                    Batch(resolutions=resolutions, admissions=admissions, repeated=repeated)
                )
            except StorageAway as error:
                self._meter.till_failed(error)
                if not repeated and not isinstance(error, OutcomeUnknown):
                    raise
                _log.warning(
                    "commit_outcome_unknown", error=str(error), items=len(resolutions) + len(admissions)
                )
                if monotonic() - begun_s > UNKNOWN_PATIENCE_S:
                    self._refuse_waiting(admitting)
                if self._closing and repeated:
                    raise
                repeated = True
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_MAX_S)
                continue
            except Exception as error:
                self._meter.till_failed(error)
                raise _AtFault(error, repeated=repeated) from error
            finally:
                patience.cancel()
            self._meter.posted(answer, resolutions, duration_us=(perf_counter_ns() - posted_ns) // 1000)
            return answer

    def _refuse_waiting(self, posted: Sequence[_Admitting] = ()) -> None:
        """Keep no caller waiting until the database is back; what turns out admitted after all is voided."""
        self._away = True
        for waiting in posted:
            _answer(waiting.answered, StorageUnavailable())
        while self._admitting:
            _answer(self._admitting.popleft().answered, StorageUnavailable())

    def _hand_out(
        self, resolving: Sequence[_Resolving], admitting: Sequence[_Admitting], answer: BatchAnswer
    ) -> None:
        for resolution, resolved in zip(resolving, answer.resolutions, strict=True):
            _answer(resolution.answered, resolved)
        for admission, decided in zip(admitting, answer.admissions, strict=True):
            if not _answer(admission.answered, decided) and isinstance(decided, Admitted):
                # Nobody waits for it any more, so nobody else would ever free its hold.
                outcome = Outcome(resolution="void", end_reason="abandoned")
                self.put(Resolution(facts=admission.item.facts, outcome=outcome))


def _part(
    waiting: Sequence[_Waiting[Part, Answer]], busy: frozenset[str]
) -> tuple[list[_Waiting[Part, Answer]], list[_Waiting[Part, Answer]]]:
    """Return who waits for other accounts than the busy ones, and who for those."""
    parts: tuple[list[_Waiting[Part, Answer]], list[_Waiting[Part, Answer]]] = ([], [])
    for each in waiting:
        parts[each.item.facts.account_id in busy].append(each)
    return parts


def _answer(future: asyncio.Future[Answer], answer: Answer) -> bool:
    if future.done():
        return False
    future.set_result(answer)
    return True
