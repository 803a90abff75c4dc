"""A calibration set on disk: an `.npz` of stored members, written one example at a time and mapped when it is read.

Members: `raw` [samples, ...] as `prepare` takes it, `labels` [samples] int64 or empty, `class_names`.
Nothing is compressed and every date is that of the zip format's beginning, so equal examples give equal bytes.
"""

import io
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError
from wherry.runtime.interface import Array

_PIECE = 1 << 20
_LOCAL_HEADER = 30  # bytes before a zip member's name (APPNOTE.TXT 4.3.7)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSet:
    """An opened calibration set."""

    raw: Array
    """Raw examples, batch axis first, as `prepare` takes them; mapped from the file, not read."""
    labels: NDArray[Any]
    class_names: tuple[str, ...]


def write_set(raws: Iterable[Array], labels: Sequence[int], class_names: Iterable[str], path: Path) -> int:
    """Write a set and return how many examples it has; memory does not grow with their number.

    Args:
        raws: examples of one shape and dtype.
        labels: class index of each example, or empty. Read after `raws` is used up, so it may be filled meanwhile.
        class_names: names of the classes.
        path: the file to write.

    Raises:
        BadInputError: there are no examples, or one has another shape or dtype than the first.
        OSError: the file cannot be written.
    """
    with tempfile.TemporaryFile(dir=path.parent) as body:
        count, first = _spool(raws, body)
        body.seek(0)
        marks, names = np.array(list(labels), dtype=np.int64), np.array(list(class_names), dtype=np.str_)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            with archive.open(zipfile.ZipInfo("raw.npy"), "w", force_zip64=True) as member:
                member.write(_header((count, *first.shape), first.dtype))
                while piece := body.read(_PIECE):
                    member.write(piece)
            for name, array in (("labels", marks), ("class_names", names)):
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
    return count


def open_calibration(path: Path) -> CalibrationSet:
    """Open a set that `write_set` wrote; nothing is unpickled, and the examples stay on disk until they are used.

    Raises:
        BadInputError: it is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            raw = _mapped(path, archive.getinfo("raw.npy"))
            labels, names = (_small(archive, name) for name in ("labels.npy", "class_names.npy"))
        return CalibrationSet(raw=raw, labels=labels, class_names=tuple(str(name) for name in names))
    except Exception as error:  # numpy and zipfile raise half a dozen kinds for a damaged file
        msg = f"{path} is not a calibration set."
        raise BadInputError(msg, next_step="Write one with `calibration_from_arrays`.") from error


def _spool(raws: Iterable[Array], body: IO[bytes]) -> tuple[int, Array]:
    first: Array | None = None
    count = 0
    for raw in raws:
        example = np.asarray(raw)
        first = example if first is None else first
        if example.shape != first.shape or example.dtype != first.dtype or example.dtype.hasobject:
            msg = (
                f"Calibration example {count} is {example.dtype} of shape {list(example.shape)}, "
                f"and the first is {first.dtype} of shape {list(first.shape)}."
            )
            raise BadInputError(msg, next_step="Give examples of one kind, or an image folder, which is fitted.")
        body.write(np.ascontiguousarray(example).tobytes())
        count += 1
    if first is None:
        msg = "The calibration set holds no examples."
        raise BadInputError(msg, next_step="Give at least one raw example, better a hundred.")
    return count, first


def _header(shape: tuple[int, ...], dtype: "np.dtype[Any]") -> bytes:
    buffer = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(buffer, facts)
    return buffer.getvalue()


def _mapped(path: Path, member: zipfile.ZipInfo) -> Array:
    """Return the array of a stored member without reading it."""
    if member.compress_type != zipfile.ZIP_STORED:
        msg = "it is compressed"
        raise ValueError(msg)
    with path.open("rb") as stream:
        stream.seek(member.header_offset + _LOCAL_HEADER - 4)
        name, extra = (int.from_bytes(stream.read(2), "little") for _ in range(2))
        stream.seek(name + extra, io.SEEK_CUR)
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if fortran or dtype.hasobject:
            msg = "it holds objects"
            raise ValueError(msg)
        return np.memmap(path, dtype=dtype, mode="r", offset=stream.tell(), shape=shape)


def _small(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as member:
        found: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return found
