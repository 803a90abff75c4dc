"""The target family: a program, or another variant, and a target in; the files of a variant out.

A member is one file in `targets/`. It names what it can do and what it needs, and fills one hook, `_write`. Everything
else is checked here, before work starts and after it. A member follows each option to the letter, refuses it, or
writes a sentence about it into `overrides`.
"""

import errno
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from wherry.core.errors import BadInputError, ExportError, StorageError, ToolchainMissingError, WherryError
from wherry.core.model import ModelSpec
from wherry.core.variant import PRUNE, Target
from wherry.export.accuracy import AccuracyGoal
from wherry.runtime.installed import installed_version

# The disk is full, the user's share of it is, or a file may not grow further.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a target starts from."""

    model: str
    version: int
    spec: ModelSpec
    program: Path
    """The program: a captured `.pt2` file, or an ONNX file."""
    parent: Path | None = None
    """Main file of the variant that `needs` names."""
    calibration: Path | None = None
    """Calibration set, as `calibration_from_arrays` wrote it."""
    accuracy: AccuracyGoal | None = None
    """How much an eight-bit variant may lose; None leaves that to the proof."""
    program_format: str = "pt2"
    """`pt2` or `onnx`."""
    architecture: str = ""
    """Digest of the network's structure without its weights."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Where the version came from, as plain data; formats with a place for it take it along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a member made, beside the files themselves."""

    main: str
    """Name of the main file."""
    batch: int | None
    """Fixed batch size, or None for a dynamic one."""
    effective: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    verified: Literal["none", "emulator", "hardware"] = "none"
    """How far a vendor's toolchain has tried the result by itself, for the receipt."""


class Exporter(ABC):
    """One format. Has no state: everything is asked of the class."""

    format: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    calibrated: ClassVar[tuple[str, ...]] = ()
    """Precisions that need a calibration set."""
    controlled: ClassVar[tuple[str, ...]] = ()
    """Precisions that return layers to float until an accuracy goal is met."""
    options: ClassVar[Mapping[str, type]] = {}
    """Options that are known, with the type of their values; those of a precision are what `options_of` says."""
    engine: ClassVar[str]
    """Member of the engine family that runs the result."""
    extra: ClassVar[str] = ""
    """wherry's extra that brings the tools."""
    starts_from: ClassVar[tuple[str, ...]] = ("pt2",)
    """Formats of a program that it can start from; a member that needs another variant is not asked."""
    suffix: ClassVar[str]
    """Extension of the main file, with its dot; the main file is `model` with this suffix."""

    @classmethod
    def needs(cls, target: Target) -> str | None:
        """Hook: return the target whose variant this one starts from, such as `onnx-fp32`; None is the program."""
        del target  # most start from the program, whatever is asked
        return None

    @classmethod
    def options_of(cls, precision: str) -> Mapping[str, type]:
        """Hook: return the options that this precision knows; one that its source knows too is passed on to that."""
        del precision  # in most formats every precision knows every option
        return cls.options

    @classmethod
    def kit(cls, target: Target) -> str | None:
        """Hook: return why the result here is a kit for a vendor's toolchain, or None where it is the real thing."""
        del target
        return None

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        """Hook: return the modules that the work needs, with the distributions that may bring them."""
        del target
        return {}

    @classmethod
    def _programs(cls, target: Target) -> tuple[str, ...]:
        """Hook: return the programs of which one must be on the search path; none when nothing is needed."""
        del target
        return ()

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        """Hook: return why this model cannot be built for this target, or None; options have the right types here."""
        del target, spec
        return None

    @abstractmethod
    def _write(self, source: Source, target: Target, out: Path) -> Written:
        """Hook: write the files into `out`."""

    @classmethod
    @final
    def tool_versions(cls, target: Target) -> dict[str, str]:
        """Return the versions of the tools by module; imports none of them. A missing tool is left out."""
        found = {module: installed_version(module, names) for module, names in cls._tools(target).items()}
        return {module: version for module, version in found.items() if version is not None}

    @classmethod
    @final
    def missing(cls, target: Target) -> ToolchainMissingError | None:
        """Return the error of a tool that is not installed, with the command that brings it, or None."""
        absent = sorted(set(cls._tools(target)) - set(cls.tool_versions(target)))
        if absent:
            msg = f"The tools for {target.name} are not installed: {', '.join(absent)}."
            return ToolchainMissingError(msg, next_step=f"Run: pip install 'wherry[{cls.extra}]'")
        programs = cls._programs(target)
        if programs and not any(map(shutil.which, programs)):
            msg = f"{target.name} needs one of the programs {', '.join(programs)}, and none is on the search path."
            return ToolchainMissingError(msg, next_step=f"Install {programs[0]} with the system's package manager.")
        return None

    @classmethod
    @final
    def problem(cls, target: Target, spec: ModelSpec) -> WherryError | None:
        """Return why this target cannot be built here, as the error that `export` would raise, or None."""
        if target.precision not in cls.precisions:
            next_step = f"Use one of {', '.join(cls.precisions)}."
            return BadInputError(f"The format {cls.format} has no precision {target.precision}.", next_step=next_step)
        options = cls.options_of(target.precision)
        for name, value in target.options.items():
            kind = str if name == PRUNE else options.get(name)
            if kind is None:
                msg = f"The target {target.name} has no option {name!r}."
                return BadInputError(msg, next_step=f"Its options are: {', '.join(options) or 'none at all'}.")
            if type(value) is not kind:
                return BadInputError(
                    f"The option {name!r} of {target.name} is {value!r}, and {kind.__name__} is expected."
                )
        reason = cls._refuses(target, spec)
        return BadInputError(reason) if reason is not None else cls.missing(target)

    @classmethod
    @final
    def cannot_start(cls, target: Target, program_format: str) -> BadInputError | None:
        """Return why this target cannot be made from a program of that format, or None; asked before work starts."""
        if cls.needs(target) is not None or program_format in cls.starts_from:
            return None
        msg = f"{target.name} starts from a captured PyTorch network, and this version is an {program_format} file."
        return BadInputError(msg, next_step="Choose an onnx or openvino target, or register the PyTorch checkpoint.")

    @classmethod
    @final
    def unsupported(cls, target: Target, spec: ModelSpec) -> str | None:
        """Return why this target cannot be built here, or None; asked before work starts."""
        problem = cls.problem(target, spec)
        return None if problem is None else problem.message

    @final
    def export(self, source: Source, target: Target, out: Path) -> Written:
        """Write the variant's files into the empty folder `out`.

        Raises:
            BadInputError: precision, option or model are not supported, or the calibration set is missing.
            ToolchainMissingError: a tool is not installed.
            StorageError: the disk is full.
            ExportError: the tools failed.
        """
        problem = self.problem(target, source.spec)
        if problem is not None:
            raise problem
        needs = self.needs(target)
        if needs is not None and source.parent is None:
            msg = f"{target.name} starts from {needs}, which was not given."
            raise BadInputError(msg)
        if target.precision in self.calibrated and source.calibration is None:
            msg = f"{target.name} needs a calibration set."
            raise BadInputError(msg, next_step="Give real examples of the kind that the model will see.")
        try:
            written = self._write(source, target, out)
        except WherryError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                msg = f"{target.name} could not be made: the disk is full."
                raise StorageError(msg) from error
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            msg = f"{target.name} could not be made: {type(error).__name__}: {reason}"
            raise ExportError(msg) from error
        main = out / written.main
        if not main.is_file() or main.stat().st_size == 0:
            msg = f"{target.name} could not be made: the tools left no {written.main}."
            raise ExportError(msg)
        return written


def spec_batch(spec: ModelSpec) -> int | None:
    """Return the model's own fixed batch size, or None when its first axis is dynamic."""
    first = spec.inputs[0].shape[0]
    return first if isinstance(first, int) else None
