"""Builds one variant: runs its child process, writes the receipt, and keeps the result in the cache."""

import platform
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from wherry.core.errors import ToolchainMissingError, WherryError
from wherry.core.variant import Receipt, Target, Variant
from wherry.export.cache import ExportCache, cache_key
from wherry.export.child import WRITE_VARIANT, ExportJob, Made
from wherry.export.request import ExportOutcome, ExportRequest
from wherry.export.targets import exporter_class
from wherry.runtime.installed import installed_version

T = TypeVar("T")


class Runner(Protocol):
    """Calls `package.module:function` elsewhere and returns its answer: `wherry.jobs.child.run_in_child` does."""

    def __call__(
        self,
        function: str,
        spec: object,
        result: type[T],
        *,
        timeout_s: float,
        memory_bytes: int | None = None,
        on_log: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        """Return what the function returned, or raise the WherryError that it raised or that ended it."""
        ...


def tools_of(target: Target) -> dict[str, str]:
    """Return what takes part in making a variant of this target, with versions; nothing is imported."""
    own = {"wherry": installed_version("wherry") or "unknown", "python": platform.python_version()}
    return {**own, **exporter_class(target.format).tool_versions(target)}


def with_what_it_uses(request: ExportRequest) -> ExportRequest:
    """Return the request without a calibration set or an accuracy goal that its target does not look at."""
    member = exporter_class(request.target.format)
    if request.target.precision not in member.controlled:
        request = replace(request, accuracy=None)
    if request.target.precision in member.calibrated:
        return request
    return replace(request, calibration=None, calibration_manifest=None)


def key_of(request: ExportRequest, parent: ExportOutcome | None) -> str:
    """Return the cache's key of this request when it starts from that parent."""
    return cache_key(request, tools_of(request.target), _main_sha256(parent))


def build_variant(
    request: ExportRequest, parent: ExportOutcome | None, cache: ExportCache, run: Runner, stop: threading.Event
) -> ExportOutcome:
    """Build one variant in a child process and keep it; every error becomes an outcome.

    Args:
        request: what to build.
        parent: the variant that it starts from, where the target needs one.
        cache: where the result is kept.
        run: how a child process is run.
        stop: ends the child when it is set.
    """
    started, key = time.monotonic(), key_of(request, parent)
    log: list[str] = []
    try:
        with cache.building(key) as folder:
            job = ExportJob(
                request=request, out=str(folder), parent=_main_path(parent), parent_sha256=_main_sha256(parent)
            )
            made = run(
                WRITE_VARIANT,
                job,
                Made,
                timeout_s=request.timeout_s,
                memory_bytes=request.memory_bytes,
                on_log=log.append,
                stop=stop,
            )
            _check_tools(request.target, made)
            variant = cache.keep(key, folder, _variant(request, made, _main_sha256(parent)), log)
    except WherryError as error:
        path = cache.keep_log(key, log)
        next_step = f"{error.next_step} What the tools said is in {path}."
        seconds = time.monotonic() - started
        return ExportOutcome(target=request.target, error=error.message, next_step=next_step, seconds=seconds)
    seconds = time.monotonic() - started
    return ExportOutcome(target=request.target, variant=variant, folder=cache.folder(key), seconds=seconds)


def _check_tools(target: Target, made: Made) -> None:
    """Refuse files of other tools than the cache's key and the receipt name, as of a machine that has older ones."""
    here = exporter_class(target.format).tool_versions(target)
    other = [
        f"{name} {version}, here {here.get(name, 'none')}"
        for name, version in made.tools.items()
        if here.get(name) != version
    ]
    if other:
        msg = f"{target.name} was made by other tools than those here: {'; '.join(other)}."
        raise ToolchainMissingError(msg, next_step="Install the same versions on every machine of the cluster.")


def _variant(request: ExportRequest, made: Made, parent_sha256: str | None) -> Variant:
    target = request.target
    receipt = Receipt(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        source=parent_sha256 or request.program_sha256,
        tools=tools_of(target),
        requested={"format": target.format, "precision": target.precision, **target.options},
        effective=made.written.effective,
        overrides=made.written.overrides,
        calibration=request.calibration_manifest,
        seconds=made.seconds,
        host=made.host,
        verified=made.written.verified,
    )
    return Variant(
        model=request.model,
        version=request.version,
        version_digest=request.version_digest,
        target=target,
        engine=exporter_class(target.format).engine,
        files=made.files,
        batch=made.written.batch,
        receipt=receipt,
    )


def _main_sha256(parent: ExportOutcome | None) -> str | None:
    return parent.variant.files[0].sha256 if parent is not None and parent.variant is not None else None


def _main_path(parent: ExportOutcome | None) -> str | None:
    if parent is None or parent.variant is None or parent.folder is None:
        return None
    return str(Path(parent.folder, parent.variant.files[0].path).resolve())
