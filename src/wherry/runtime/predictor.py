"""An opened variant that takes what people have and says what they want to know (contract row S4).

The same class for every runtime and every task: the engine runs the file, `prepare` and `answers` do the model's own
pre- and postprocessing. It needs no training site, so a device carries it too.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias, Union, overload

import numpy as np

from wherry.core.errors import BadInputError, NotFoundError
from wherry.core.model import ModelSpec
from wherry.core.report import EngineInfo
from wherry.runtime.engines import engine_class
from wherry.runtime.fitting import Placement, fitted
from wherry.runtime.images import image_array, is_picture, read_image
from wherry.runtime.interface import Array, EngineOptions, Tensors
from wherry.runtime.preprocess import prepare
from wherry.runtime.results import Result, answers
from wherry.runtime.timing import Timing, closed_loop

if TYPE_CHECKING:
    from PIL import Image

_CHUNK = 32
"""Examples that go through the engine at a time."""
_IMAGE_CHANNELS = (1, 3)

Example: TypeAlias = Union[Array, Path, str, "Image.Image"]
"""A picture's path, a Pillow image, or an array; for models of plain tensors an array or the path of an `.npy` file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Which file runs how."""

    name: str
    """For people: `fire-detector@v2 onnx-int8`."""
    main: Path
    """Main file of the variant; its other files lie beside it."""
    spec: ModelSpec
    engine: str
    """Member of the engine family, such as `onnxruntime`."""
    batch: int | None = None
    """Fixed batch size of the variant, or None for a dynamic one."""
    options: EngineOptions = field(default_factory=EngineOptions)


class Predictor:
    """Use as a context manager, or call `close`; `predict` may be called from one thread at a time."""

    def __init__(self, opened: Opened, *, on_close: Callable[[], None] | None = None) -> None:
        """Open the variant.

        Args:
            opened: which file runs how.
            on_close: called after the engine was closed, to remove files that were laid out for it.

        Raises:
            ToolchainMissingError: the runtime is not installed.
            EngineError: the runtime refuses the file or the device.
        """
        self.name = opened.name
        self.spec = opened.spec
        self._on_close = on_close
        member = engine_class(opened.engine)
        self._engine = member(opened.main, opened.spec, batch=opened.batch, options=opened.options)

    @property
    def info(self) -> EngineInfo:
        """What runs where, with the options in effect."""
        return self._engine.info()

    @overload
    def predict(self, given: Sequence[Example]) -> list[Result]: ...

    @overload
    def predict(self, given: Example) -> Result | list[Result]: ...

    def predict(self, given: Example | Sequence[Example]) -> Result | list[Result]:
        """Return what the network says about one example, or a list of results for a batch.

        Args:
            given: one example, or a list or tuple of them. A single array with one more axis than an example is a
                batch. A picture is uint8: (height, width), (height, width, 1) or (height, width, 3) in RGB; of three
                axes the last one decides, so a batch of grey pictures that are 1 or 3 pixels wide needs a fourth axis.

        Raises:
            BadInputError: an example cannot be read, or does not fit the model.
            NotFoundError: there is no such file.
            EngineError: the runtime failed.
        """
        if isinstance(given, (list, tuple)):
            return list(self.stream(given))
        array = self._array(given)
        return list(self._chunks([*array])) if self._is_batch(array) else next(self._chunks([array]))

    def stream(self, examples: Sequence[Example] | Iterator[Example]) -> Iterator[Result]:
        """Yield a result for each example, reading and running 32 at a time, so that a folder need not fit in memory.

        Raises:
            BadInputError: as for `predict`.
            NotFoundError: there is no such file.
            EngineError: the runtime failed.
        """
        waiting: list[Array] = []
        for example in examples:
            waiting.append(self._array(example))
            if len(waiting) == _CHUNK:
                yield from self._chunks(waiting)
                waiting = []
        yield from self._chunks(waiting)

    def benchmark(self, given: Example | Sequence[Example] | None = None, *, seconds: float = 1.0) -> Timing:
        """Return the time of whole calls, preprocessing and postprocessing included, after a steady state was seen.

        Args:
            given: what is predicted in each call, as for `predict`; files are read before, not in each call. None is
                one example of noise in the input's size.
            seconds: time to spend once it is warm.

        Raises:
            BadInputError: as for `predict`; or nothing was given and the input's size is not fixed.
            EngineError: the runtime failed.
        """
        if given is None:
            rows = [self._noise()]
        elif isinstance(given, (list, tuple)):
            rows = [self._array(example) for example in given]
        else:
            array = self._array(given)
            rows = [*array] if self._is_batch(array) else [array]
        if not rows:
            msg = "There is nothing to time: the batch is empty."
            raise BadInputError(msg)
        return closed_loop(lambda: list(self._chunks(rows)), batch=len(rows), seconds=seconds)

    def close(self) -> None:
        """Free the runtime's memory and the files laid out for it; nothing can be predicted afterwards."""
        self._engine.close()
        if self._on_close is not None:
            self._on_close()
            self._on_close = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chunks(self, rows: list[Array]) -> Iterator[Result]:
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            outputs = self._engine.run(self._prepared(part))
            yield from answers(outputs, self.spec, self._placements(part))

    def _prepared(self, rows: list[Array]) -> Tensors:
        """Return one batch; pictures of different sizes are prepared one by one and must come out alike."""
        if len({(row.shape, row.dtype) for row in rows}) == 1:
            return prepare(rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows), self.spec)
        name = self.spec.inputs[0].name
        parts = [prepare(row[np.newaxis], self.spec)[name] for row in rows]
        shapes = {part.shape for part in parts}
        if len(shapes) > 1:
            msg = f"The examples come out of the preprocessing in {len(shapes)} sizes, so they are no batch."
            raise BadInputError(msg, next_step="Predict them one by one, or give examples of one size.")
        return {name: np.concatenate(parts)}

    def _placements(self, rows: list[Array]) -> list[Placement] | None:
        if self.spec.preprocessing.kind != "image":
            return None
        return [fitted(row.shape[:2], self.spec) for row in rows]

    def _array(self, example: object) -> Array:
        """Return the raw example as an array."""
        if isinstance(example, np.ndarray):
            return example
        if isinstance(example, (str, Path)):
            return self._read(Path(example))
        if self.spec.preprocessing.kind == "image" and is_picture(example):
            return image_array(example)
        msg = f"A {type(example).__name__} is no example of this model."
        raise BadInputError(msg, next_step="Give an array, a path, a Pillow image, or a list of them.")

    def _read(self, path: Path) -> Array:
        if path.suffix == ".npy":
            return _read_array(path)
        if self.spec.preprocessing.kind == "image":
            return read_image(path)
        msg = f"{path.name} is not an array, and {self.name} takes tensors of shape {list(self.spec.inputs[0].shape)}."
        raise BadInputError(msg, next_step="Give an array, or the path of an .npy file.")

    def _is_batch(self, array: Array) -> bool:
        if self.spec.preprocessing.kind == "image":
            return array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in _IMAGE_CHANNELS)
        return array.ndim == len(self.spec.inputs[0].shape)

    def _noise(self) -> Array:
        rng = np.random.default_rng(0)
        tensor, how = self.spec.inputs[0], self.spec.preprocessing
        if how.kind == "image":
            sides = how.size or (tensor.shape[2:4] if how.layout == "NCHW" else tensor.shape[1:3])
            return rng.integers(0, 256, (*_fixed(sides, self.name), 3), dtype=np.uint8)
        noise = rng.normal(size=_fixed(tensor.shape[1:], self.name))
        return noise.astype(np.dtype(tensor.dtype))


def _fixed(sides: Sequence[int | str], name: str) -> tuple[int, ...]:
    found = tuple(side for side in sides if isinstance(side, int))
    if len(found) != len(sides):
        msg = f"The input of {name} has no fixed size, so there is nothing to time it with."
        raise BadInputError(msg, next_step="Give an example to `benchmark`.")
    return found


def _read_array(path: Path) -> Array:
    try:
        found: Array = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise NotFoundError(msg, next_step="Check the path.") from error
    except ValueError as error:
        msg = f"{path.name} is not an array of plain numbers."
        raise BadInputError(msg, next_step="Write it with numpy.save(path, array).") from error
    return found
