"""Engines that compute for real and carry no weight, and the models that the tests serve with them."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from wherry.core.model import ModelSpec, TensorSpec
from wherry.runtime.engines import ENGINES
from wherry.runtime.interface import Engine, Tensors
from wherry.serving.model import ServedModel

FEATURES, CLASSES = 4, 3
POISON = 666.0
"""An input that makes the engine fail."""
CLASS_NAMES = ("cat", "dog", "owl")
AFFINE_SPEC = ModelSpec(
    task="null",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", FEATURES)),),
    outputs=(
        TensorSpec(name="logits", dtype="float32", shape=("batch", CLASSES)),
        TensorSpec(name="best", dtype="int64", shape=("batch",)),
    ),
    class_names=CLASS_NAMES,
)


class AffineEngine(Engine):
    """`x @ weight + bias` and its best class, from an .npz.

    Where a file `.hold` lies beside it, an execution makes a file `.begun` and waits until `.hold` is gone.
    """

    name = "affine"
    module = None
    closed: ClassVar[list[Path]] = []

    def _load(self, path: Path) -> None:
        self.path = path
        with np.load(path) as file:
            self.weight, self.bias = file["weight"], file["bias"]
            time.sleep(float(file["load_seconds"]))

    def _infer(self, inputs: Tensors) -> Tensors:
        x = inputs["x"]
        if self.path.with_suffix(".hold").exists():
            self.path.with_suffix(".begun").touch()
            wait_until(lambda: not self.path.with_suffix(".hold").exists(), 30)
        if (x == POISON).any():
            raise ArithmeticError("poison")
        logits = x @ self.weight + self.bias
        return {"logits": logits, "best": logits.argmax(axis=1)}

    def _close(self) -> None:
        self.closed.append(self.path)


class EchoEngine(Engine):
    """Gives back its input `x` as `y`."""

    name = "echo"
    module = None

    def _load(self, path: Path) -> None:
        return

    def _infer(self, inputs: Tensors) -> Tensors:
        return {"y": inputs["x"]}


class GateEngine(Engine):
    """Doubles `x` as `y`, but only when it is let; keeps the rows of each execution."""

    name = "gate"
    module = None

    def _load(self, path: Path) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.rows: list[int] = []
        self.closed = False

    def _infer(self, inputs: Tensors) -> Tensors:
        self.rows.append(len(inputs["x"]))
        self.entered.set()
        assert self.open.wait(30)
        if (inputs["x"] == POISON).any():
            raise ArithmeticError("poison")
        return {"y": inputs["x"] * 2}

    def _close(self) -> None:
        self.closed = True


def register() -> None:
    """Put the engines into the family's table."""
    for member in (AffineEngine, EchoEngine, GateEngine):
        ENGINES[member.name] = f"tests.serving.affine:{member.__name__}"


def expected(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the affine model at `path` answers."""
    with np.load(path) as file:
        logits: np.ndarray[Any, Any] = x @ file["weight"] + file["bias"]
        return logits


def write_affine(path: Path, *, seed: int = 0, load_seconds: float = 0.0) -> Path:
    """Write the weights of an affine model."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(FEATURES, CLASSES)).astype(np.float32)
    bias = rng.normal(size=CLASSES).astype(np.float32)
    np.savez(path, weight=weight, bias=bias, load_seconds=load_seconds)
    return path


def affine_model(folder: Path, **changes: Any) -> ServedModel:
    """An affine model in `folder`; `changes` are fields of `ServedModel`, or `seed` and `load_seconds`."""
    how = {key: changes.pop(key) for key in ("seed", "load_seconds") if key in changes}
    fields: dict[str, Any] = {"name": "affine", "version": 1, "spec": AFFINE_SPEC, "engine": "affine"} | changes
    main = fields.setdefault("main", folder / f"{fields['name']}-{fields['version']}.npz")
    if not main.exists() and main.parent.is_dir():
        write_affine(main, **how)
    return ServedModel(**fields)


def echo_spec(dtype: str, *axes: int | str) -> ModelSpec:
    """A model that takes and gives one tensor of that type."""
    shape = axes or ("batch", 2)
    return ModelSpec(
        task="null",
        inputs=(TensorSpec(name="x", dtype=dtype, shape=shape),),
        outputs=(TensorSpec(name="y", dtype=dtype, shape=shape),),
    )


def echo_model(folder: Path, name: str, dtype: str, *axes: int | str) -> ServedModel:
    """A served echo."""
    main = folder / "echo.bin"
    main.touch()
    return ServedModel(name=name, version=1, spec=echo_spec(dtype, *axes), engine="echo", main=main)


def gate_engine(folder: Path, *, batch: int | None = None) -> GateEngine:
    """An opened gate whose input is [batch, 2] float32."""
    main = folder / "gate.bin"
    main.touch()
    return GateEngine(main, echo_spec("float32"), batch=batch)


class Held:
    """The affine model at `main` is held from the first request in the block to the end of it, or until `release`."""

    def __init__(self, main: Path) -> None:
        self._hold, self._begun = main.with_suffix(".hold"), main.with_suffix(".begun")

    def __enter__(self) -> Self:
        self.hold()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def hold(self) -> None:
        """Hold the next execution."""
        self._begun.unlink(missing_ok=True)
        self._hold.touch()

    def wait(self) -> None:
        """Wait until an execution has begun."""
        wait_until(self._begun.exists)

    def release(self) -> None:
        """Let it go on."""
        self._hold.unlink(missing_ok=True)


def wait_until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that another thread does."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)
