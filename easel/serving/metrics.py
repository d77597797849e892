"""Figures for Prometheus: jobs, seconds, queue, models. Each backend has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from easel.serving.jobs import Job
from pipelines.models.cache.cache import ModelCache

SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)


class Metrics:
    """What a backend has done and holds.

    Args:
        cache: its models.
        queue: says how many jobs run and how many wait.
    """

    def __init__(self, cache: ModelCache, queue: Callable[[], tuple[int, int]]) -> None:
        self._registry = CollectorRegistry()
        self._jobs = Counter("easel_jobs", "Jobs that have ended, by kind and outcome.",
                             ("kind", "outcome"), registry=self._registry)
        self._device = Histogram("easel_job_device_seconds", "Device seconds of ended jobs.",
                                 ("kind",), buckets=SECONDS, registry=self._registry)
        self._wait = Histogram("easel_job_wait_seconds", "Seconds that jobs waited to begin.",
                               buckets=SECONDS, registry=self._registry)
        self._registry.register(_Holdings(cache, queue))

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

    def __init__(self, cache: ModelCache, queue: Callable[[], tuple[int, int]]) -> None:
        self._cache, self._queue = cache, queue

    def collect(self) -> Iterator[Metric]:
        """The queue and the model cache as they are now."""
        running, waiting = self._queue()
        queue = GaugeMetricFamily("easel_queue_jobs", "Jobs that run or wait.", labels=["state"])
        queue.add_metric(["running"], running)
        queue.add_metric(["waiting"], waiting)
        yield queue
        stats = self._cache.stats()
        yield GaugeMetricFamily("easel_model_bytes", "Bytes of the models on the device.",
                                stats.used_bytes)
        for name, value, text in (("hits", stats.hits, "Leases that found their model here."),
                                  ("misses", stats.misses, "Leases that waited for a load."),
                                  ("evictions", stats.evictions, "Models dropped for room.")):
            yield CounterMetricFamily(f"easel_model_{name}", text, value)
