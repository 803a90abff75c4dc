"""What each model has done since the server started, as the protocol's statistics extension counts it."""

import threading
import time
from typing import Any

from wherry.serving.batcher import BatchRecord

_KINDS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
_COMPUTE = ("compute_input", "compute_infer", "compute_output")


class Durations:
    """Counts and sums of nanoseconds, by name."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._sums: dict[str, list[int]] = {name: [0, 0] for name in names}

    def add(self, name: str, ns: int, count: int = 1) -> None:
        """Add `ns` nanoseconds for each of `count` events."""
        self._sums[name][0] += count
        self._sums[name][1] += ns * count

    def document(self) -> dict[str, Any]:
        """Return `{"queue": {"count": 3, "ns": 1200}, ...}`."""
        return {name: {"count": count, "ns": ns} for name, (count, ns) in self._sums.items()}


class ModelStats:
    """Statistics of one version of a model; kept when it is loaded again. May be called from any thread."""

    def __init__(self, name: str, version: int) -> None:
        self._name = name
        self._version = version
        self._lock = threading.Lock()
        self._last_ms = 0
        self._rows = 0
        self._executions = 0
        self._durations = Durations(_KINDS)
        self._batches: dict[int, Durations] = {}

    def add_batch(self, record: BatchRecord) -> None:
        """Count one execution."""
        requests = len(record.waits_ns)
        parts = {
            "compute_input": record.input_ns,
            "compute_infer": record.infer_ns,
            "compute_output": record.output_ns,
        }
        with self._lock:
            self._last_ms = time.time_ns() // 1_000_000
            self._rows += record.rows
            self._executions += 1
            batch = self._batches.setdefault(record.rows, Durations(_COMPUTE))
            for wait in record.waits_ns:
                self._durations.add("queue", wait)
            for name, ns in parts.items():
                self._durations.add(name, ns, requests)
                batch.add(name, ns)

    def add_answer(self, ok: bool, ns: int) -> None:
        """Count one request that was answered, or that failed, after `ns` nanoseconds."""
        with self._lock:
            self._durations.add("success" if ok else "fail", ns)

    def document(self) -> dict[str, Any]:
        """Return the model's entry of `model_stats`."""
        with self._lock:
            return {
                "name": self._name,
                "version": str(self._version),
                "last_inference": self._last_ms,
                "inference_count": self._rows,
                "execution_count": self._executions,
                "inference_stats": self._durations.document(),
                "batch_stats": [
                    {"batch_size": rows, **durations.document()} for rows, durations in sorted(self._batches.items())
                ],
            }
