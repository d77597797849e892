"""Figures for Prometheus: jobs, seconds, queue, models. Each backend has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from easel.serving.jobs import Job, RunnerCounts

SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class CacheFigures(Protocol):
    """What a model cache tells, as ``pipelines.models.cache.stats.CacheStats`` does."""

    @property
    def used_bytes(self) -> int:
        """Bytes of the models on the device."""
        ...

    @property
    def hits(self) -> int:
        """Leases that found their model there."""
        ...

    @property
    def misses(self) -> int:
        """Leases that waited for a load."""
        ...

    @property
    def evictions(self) -> int:
        """Models dropped for room."""
        ...


class Metrics:
    """What a backend has done and holds.

    Args:
        queue: says how many jobs run and how many wait.
        caches: figures of the model caches by the names of their runners; of the only one, which
            has no name, under "".
        runners: how many runners there are; None where this process draws.
    """

    def __init__(self, queue: Callable[[], tuple[int, int]],
                 caches: Callable[[], Mapping[str, CacheFigures]],
                 runners: Callable[[], RunnerCounts] | None = None) -> None:
        self._registry = CollectorRegistry()
        self._jobs = Counter("easel_jobs", "Jobs that have ended, by kind and outcome.",
                             ("kind", "outcome"), registry=self._registry)
        self._device = Histogram("easel_job_device_seconds", "Device seconds of ended jobs.",
                                 ("kind",), buckets=SECONDS, registry=self._registry)
        self._wait = Histogram("easel_job_wait_seconds", "Seconds that jobs waited to begin.",
                               buckets=SECONDS, registry=self._registry)
        self._registry.register(_Holdings(queue, caches, runners))

    def note(self, job: Job) -> None:
        """Count a job that has ended."""
        self._jobs.labels(job.kind, job.outcome()).inc()
        self._device.labels(job.kind).observe(job.usage.device_s)
        self._wait.observe(job.wait_s)

    def render(self) -> bytes:
        """All figures in Prometheus's text format."""
        return generate_latest(self._registry)


class _Holdings(Collector):
    """What is asked for at the moment of reading, so that nothing is counted twice."""

    def __init__(self, queue: Callable[[], tuple[int, int]],
                 caches: Callable[[], Mapping[str, CacheFigures]],
                 runners: Callable[[], RunnerCounts] | None) -> None:
        self._queue, self._caches, self._runners = queue, caches, runners

    def collect(self) -> Iterator[Metric]:
        """The queue and the model caches as they are now."""
        running, waiting = self._queue()
        queue = GaugeMetricFamily("easel_queue_jobs", "Jobs that run or wait.", labels=["state"])
        queue.add_metric(["running"], running)
        queue.add_metric(["waiting"], waiting)
        yield queue
        if self._runners is not None:
            family = GaugeMetricFamily(
                "easel_runners", "Runners that are here, wanted now, and at least and at most.",
                labels=["state"])
            for state, number in self._runners()._asdict().items():
                family.add_metric([state], number)
            yield family
        caches = self._caches()
        labels = [] if "" in caches else ["runner"]
        held = GaugeMetricFamily("easel_model_bytes", "Bytes of the models on the device.",
                                 labels=labels)
        counts = [CounterMetricFamily(f"easel_model_{name}", text, labels=labels)
                  for name, text in (("hits", "Leases that found their model here."),
                                     ("misses", "Leases that waited for a load."),
                                     ("evictions", "Models dropped for room."))]
        for name, cache in caches.items():
            values = [name] if name else []
            held.add_metric(values, cache.used_bytes)
            for family, count in zip(counts, (cache.hits, cache.misses, cache.evictions),
                                     strict=True):
                family.add_metric(values, count)
        yield held
        yield from counts
