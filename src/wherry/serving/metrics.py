"""Prometheus metrics of one server."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from wherry.serving.batcher import BatchRecord

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LABELS = ("model", "version")


class Metrics:
    """All counters of a server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "wherry_requests", "Inference requests by HTTP status.", (*_LABELS, "code"), registry=self._registry
        )
        self._rejected = Counter(
            "wherry_rejected", "Requests that were not run, by reason.", (*_LABELS, "reason"), registry=self._registry
        )
        self._total = self._histogram("wherry_request_seconds", "Time from a request's head to its answer.", _SECONDS)
        self._queue = self._histogram("wherry_queue_seconds", "Time that a request waited for its turn.", _SECONDS)
        self._compute = self._histogram("wherry_compute_seconds", "Time that an execution took.", _SECONDS)
        self._rows = self._histogram("wherry_batch_rows", "Rows of an execution.", _ROWS)
        self._depth = Gauge("wherry_queue_depth", "Requests that wait now.", _LABELS, registry=self._registry)
        self._in_flight = Gauge("wherry_requests_in_flight", "Requests not answered yet.", registry=self._registry)
        self._ready = Gauge("wherry_model_ready", "Whether the model takes traffic.", _LABELS, registry=self._registry)

    def watch(self, in_flight: Callable[[], float]) -> None:
        """Read the number of requests in flight whenever somebody asks for the metrics."""
        self._in_flight.set_function(in_flight)

    def model(self, name: str, version: int) -> "ModelMetrics":
        """Return the counters of one version of a model."""
        labels = (name, str(version))
        return ModelMetrics(
            requests=lambda code: self._requests.labels(*labels, code).inc(),
            rejected=lambda reason: self._rejected.labels(*labels, reason).inc(),
            histograms=tuple(item.labels(*labels) for item in (self._total, self._queue, self._compute, self._rows)),
            gauges=(self._depth.labels(*labels), self._ready.labels(*labels)),
        )

    def count_unknown(self, code: int) -> None:
        """Count a request for a model that is not here; its name is no label, because anybody can invent names."""
        self._requests.labels("", "", str(code)).inc()

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, _LABELS, buckets=buckets, registry=self._registry)


class ModelMetrics:
    """The counters of one version of a model."""

    def __init__(
        self,
        *,
        requests: Callable[[str], None],
        rejected: Callable[[str], None],
        histograms: tuple[Histogram, ...],
        gauges: tuple[Gauge, Gauge],
    ) -> None:
        self._count = requests
        self.reject = rejected
        self._total, self._queue, self._compute, self._rows = histograms
        self._depth, self._ready = gauges

    def watch(self, depth: Callable[[], float], ready: Callable[[], float]) -> None:
        """Read the queue's depth and the model's readiness whenever somebody asks for the metrics."""
        self._depth.set_function(depth)
        self._ready.set_function(ready)

    def add_batch(self, record: BatchRecord) -> None:
        """Count one execution."""
        for wait in record.waits_ns:
            self._queue.observe(wait / 1e9)
        self._compute.observe(record.infer_ns / 1e9)
        self._rows.observe(record.rows)

    def add_answer(self, code: int, ns: int) -> None:
        """Count one request that was answered with `code` after `ns` nanoseconds."""
        self._count(str(code))
        self._total.observe(ns / 1e9)
