"""Between the chapters: what eight bits will probably damage, before any int8 variant is built."""

from typing import TYPE_CHECKING

from wherry.core.errors import ExportError
from wherry.core.variant import Target
from wherry.delivery.building import export
from wherry.delivery.calibrating import CalibrationSource, calibrate

if TYPE_CHECKING:
    from wherry.export.lint import Finding
    from wherry.registry import Registry

_LINT_TIMEOUT_S = 300.0


def lint(registry: "Registry", ref: str, *, calibration: CalibrationSource | None = None) -> "list[Finding]":
    """Return what eight bits will probably damage in a version; a child process looks at its float ONNX variant.

    Args:
        registry: where the version is; its `onnx-fp32` variant is built if it is not there.
        ref: `NAME@v2` or `NAME@alias`.
        calibration: real examples; without them only the graph is looked at, and no ranges.

    Raises:
        NotFoundError: an unknown version.
        ExportError: it cannot be written as ONNX.
        BadInputError: the examples do not fit.
    """
    from wherry.export.lint import LINT, Finding, LintJob
    from wherry.jobs.child import run_in_child

    version = registry.version(ref)
    (built,) = export(registry, ref, [Target(format="onnx")])
    if built.variant is None:
        msg = f"{version.name} cannot be looked at, as it cannot be written as ONNX: {built.error}"
        raise ExportError(msg, next_step=built.next_step)
    path = None if calibration is None else str(calibrate(registry, version, calibration)[0])
    main = registry.blob_path(built.variant.files[0].sha256)
    job = LintJob(path=str(main), spec=version.spec, calibration=path)
    return run_in_child(LINT, job, list[Finding], timeout_s=_LINT_TIMEOUT_S)
