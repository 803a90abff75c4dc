"""What can be exported here, for `wherry targets`."""

from dataclasses import dataclass

from wherry.core.variant import Target
from wherry.export.interface import Exporter
from wherry.export.targets import TARGETS, exporter_class
from wherry.runtime.engines import engine_class


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRow:
    """One target and whether this machine can make it."""

    name: str
    format: str
    precision: str
    engine: str
    """Member of the engine family that runs it."""
    extra: str
    """wherry's extra that brings the tools; empty when none are needed."""
    needs: str | None
    """Target whose variant it starts from, or None for the program."""
    calibrated: bool
    """Whether it needs a calibration set."""
    kit: bool
    """Whether the result here is a kit for a vendor's toolchain, which nothing here can run."""
    installed: bool
    """Whether the tools are here."""
    reason: str | None
    """Why it cannot be made or run here, or None."""


def describe_targets() -> list[TargetRow]:
    """Return a row for each format and precision, in the order of the table; imports no tools."""
    formats = [(name, precision) for name in TARGETS for precision in exporter_class(name).precisions]
    return [_row(Target(format=name, precision=precision)) for name, precision in formats]


def _row(target: Target) -> TargetRow:
    exporter = exporter_class(target.format)
    missing = exporter.missing(target)
    return TargetRow(
        name=target.name,
        format=target.format,
        precision=target.precision,
        engine=exporter.engine,
        extra=exporter.extra,
        needs=exporter.needs(target),
        calibrated=target.precision in exporter.calibrated,
        installed=missing is None,
        kit=exporter.kit(target) is not None,
        reason=missing.message if missing is not None else _caveat(exporter, target),
    )


def _caveat(exporter: type[Exporter], target: Target) -> str | None:
    engine = engine_class(exporter.engine)
    return exporter.kit(target) or engine.unsupported(engine.devices[0])
