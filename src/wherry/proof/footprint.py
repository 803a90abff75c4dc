"""What opening a variant costs: load time, the first call, memory. Honest only in a process that does nothing else."""

import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from wherry.core.model import ModelSpec
from wherry.core.report import Footprint
from wherry.runtime.interface import Array, Engine, EngineOptions
from wherry.runtime.preprocess import prepare
from wherry.runtime.timing import call_ms

_CALLS = 3
_MIB = 2**20


def footprint(
    kind: type[Engine], main: Path, spec: ModelSpec, raw: Array, batch: int | None, options: EngineOptions
) -> tuple[Footprint, Engine]:
    """Open a variant, call it a few times, and return what that cost with the opened engine.

    Args:
        kind: the engine that runs it.
        main: its main file.
        spec: what it takes and gives.
        raw: raw examples of one call; the first axis is the batch.
        batch: fixed batch size of the variant, or None.
        options: device and threads.

    Raises:
        EngineError: it cannot be opened or run.
        ToolchainMissingError: the runtime is not installed.
        BadInputError: the examples do not fit the spec.
    """
    inputs = prepare(raw, spec)
    _forget_peak()
    before = resident_mb()
    opened: list[Engine] = []
    load_ms = call_ms(lambda: opened.append(kind(main, spec, batch=batch, options=options)))
    (engine,) = opened
    try:
        first, *_ = [call_ms(partial(engine.run, inputs)) for _ in range(_CALLS)]
    except BaseException:
        engine.close()
        raise
    after = resident_mb()
    found = Footprint(
        load_ms=load_ms, first_ms=first, growth_mb=max(after - before, 0.0), peak_mb=max(peak_resident_mb(), after)
    )
    return found, engine


def _forget_peak() -> None:
    """Let the peak start from the present on Linux: reading the examples is not what the variant needs."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def resident_mb() -> float:
    """Return this process's resident memory in MiB."""
    import psutil

    return float(psutil.Process().memory_info().rss) / _MIB


def peak_resident_mb() -> float:
    """Return the largest resident memory that this process had so far, in MiB; the present one where no system says.

    Linux is asked through `/proc`: what `getrusage` says there is inherited from the process that started this one.
    """
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
    import psutil

    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return float(memory.peak_wset) / _MIB
    with suppress(ImportError):
        import resource

        if sys.platform == "darwin":
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB
    return float(memory.rss) / _MIB
