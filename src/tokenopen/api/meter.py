"""``GET /metrics``: what Prometheus reads, with an administrator's management key.

Groups and upstreams are named as they are called now. Amounts are counted as integers in nano-credits; beyond
2^53 of them (9 million credits) Prometheus itself rounds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from tokenopen import __version__
from tokenopen.api.authentication import Administrator
from tokenopen.api.services import CurrentServices
from tokenopen.control.meter import Inventory, read_inventory
from tokenopen.core.meter import METRICS, Distribution, Reading, Series

router = APIRouter(tags=["operation"])
ReadMeter = Callable[[], Reading]
Counted = TypeVar("Counted", int, Distribution)

_PREFIX: Final = "tokenopen_"
# Prometheus knows base units only.
_PER_SECOND: Final = {"_ms": 1_000, "_us": 1_000_000}


class _Collector(Collector):
    """Turns what was counted and what the database holds into Prometheus' families."""

    def __init__(self, reading: Reading, inventory: Inventory) -> None:
        self._reading = reading
        self._inventory = inventory

    def collect(self) -> Iterator[Metric]:
        """Return one family after the other."""
        yield _info()
        yield _gauge("open_holds", "Calls that run or wait for their settlement", self._inventory.open_holds)
        yield _gauge("held_nanocredits", "Reserved for them, in credits x 10^-9", self._inventory.held)
        yield _gauge(
            "balance_nanocredits", "Credit of all accounts, in credits x 10^-9", self._inventory.balance
        )
        yield _gauge("workers", "Workers whose lease holds, on all machines", self._inventory.workers)
        counts, distributions = _by_name(self._reading.counts), _by_name(self._reading.distributions)
        for name, metric in METRICS.items():
            if metric.bounds:
                yield self._histogram(name, distributions[name])
            else:
                yield self._counter(name, counts[name])

    def _counter(self, name: str, series: Iterable[tuple[Series, int]]) -> Metric:
        metric = METRICS[name]
        family = CounterMetricFamily(_PREFIX + name, metric.help, labels=metric.labels)
        for labels, value in series:
            family.add_metric(self._named(metric.labels, labels), value)
        return family

    def _histogram(self, name: str, series: Iterable[tuple[Series, Distribution]]) -> Metric:
        metric, divisor, shown = METRICS[name], _PER_SECOND.get(name[-3:], 1), name
        if divisor != 1:
            shown = name[:-3] + "_seconds"
        family = HistogramMetricFamily(_PREFIX + shown, metric.help, labels=metric.labels)
        for labels, distribution in series:
            buckets, total = [], 0
            for bound, count in zip((*metric.bounds, None), distribution.counts, strict=True):
                total += count
                buckets.append(("+Inf" if bound is None else str(bound / divisor), total))
            family.add_metric(self._named(metric.labels, labels), buckets, distribution.sum / divisor)
        return family

    def _named(self, labels: Sequence[str], values: Sequence[str]) -> list[str]:
        names: Mapping[str, Mapping[str, str]] = {
            "group": self._inventory.group_slugs,
            "upstream": self._inventory.upstream_names,
        }
        return [names.get(label, {}).get(value, value) for label, value in zip(labels, values, strict=True)]


def _by_name(counted: Mapping[Series, Counted]) -> Mapping[str, Sequence[tuple[Series, Counted]]]:
    """Return what was counted of each metric, with its labels' values."""
    by_name: defaultdict[str, list[tuple[Series, Counted]]] = defaultdict(list)
    for (name, *labels), value in counted.items():
        by_name[name].append((tuple(labels), value))
    return by_name


def _gauge(name: str, says: str, value: int) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, says, value=value)


def _info() -> Metric:
    family = InfoMetricFamily(_PREFIX.rstrip("_"), "What runs")
    family.add_metric([], {"version": __version__})
    return family


@router.get("/metrics", response_class=Response)
async def read_metrics(request: Request, services: CurrentServices, actor: Administrator) -> Response:
    """What happened since the server started, and what is held now, as Prometheus reads it."""
    read_meter: ReadMeter = request.app.state.read_meter
    async with services.storage.read() as tx:
        inventory = await read_inventory(tx, actor)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(read_meter(), inventory))
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"content-type": content_type})
