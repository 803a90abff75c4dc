"""What the final methods of an engine check, shown with members that fill the hooks in memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.core.device import DeviceType
from wherry.core.errors import BadInputError, EngineError, ProofRefusedError, ToolchainMissingError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.runtime.interface import Array, Engine, EngineOptions, Tensors

SPEC = ModelSpec(
    task="null",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 3)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 2)),),
)


class SumAndMax(Engine):
    """y = (sum, max) of each row; remembers what it was asked."""

    name = "sum-and-max"
    asked: list[tuple[int, ...]]
    closed = False

    def _load(self, path: Path) -> None:
        self.asked = []
        self.content = path.read_bytes()

    def _infer(self, inputs: Tensors) -> Tensors:
        self.asked.append(inputs["x"].shape)
        return {"y": np.stack([inputs["x"].sum(axis=1), inputs["x"].max(axis=1)], axis=1)}

    def _close(self) -> None:
        self.closed = True


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engine") / "model.bin"
    path.write_bytes(b"weights")
    return path


def rows(count: int) -> Array:
    return np.arange(count * 3, dtype=np.float32).reshape(count, 3)


def engine_that(infer: Callable[[Tensors], Tensors], file: Path, spec: ModelSpec = SPEC) -> Engine:
    """An engine whose `_infer` is `infer`."""

    class Member(Engine):
        name = "member"

        def _load(self, path: Path) -> None:
            return

        def _infer(self, inputs: Tensors) -> Tensors:
            return infer(inputs)

    return Member(file, spec)


def test_an_engine_answers_by_name_and_closes_itself(file: Path) -> None:
    with SumAndMax(file, SPEC) as engine:
        outputs = engine.run({"x": rows(2)})
        assert not engine.closed
    assert engine.closed
    assert list(outputs) == ["y"]
    np.testing.assert_array_equal(outputs["y"], [[3, 2], [12, 5]])


def test_an_engine_without_anything_to_free_closes_too(file: Path) -> None:
    with engine_that(lambda inputs: {"y": inputs["x"][:, :2]}, file) as engine:
        engine.run({"x": rows(1)})


def test_it_closes_after_an_error(file: Path) -> None:
    engine = SumAndMax(file, SPEC)
    with pytest.raises(BadInputError), engine:
        engine.run({})
    assert engine.closed


def test_info_says_what_runs_where(file: Path) -> None:
    info = SumAndMax(file, SPEC, options=EngineOptions(threads=2)).info()
    assert (info.engine, info.version, info.device, info.options) == ("sum-and-max", "built in", "cpu", {"threads": 2})


@given(count=st.integers(min_value=1, max_value=9), batch=st.integers(min_value=1, max_value=4))
def test_a_fixed_batch_gives_the_same_answers_in_slices(shared_file: Path, count: int, batch: int) -> None:
    engine = SumAndMax(shared_file, SPEC, batch=batch)
    free = SumAndMax(shared_file, SPEC)
    np.testing.assert_array_equal(engine.run({"x": rows(count)})["y"], free.run({"x": rows(count)})["y"])
    assert engine.asked == [(batch, 3)] * -(-count // batch)
    assert free.asked == [(count, 3)]


def test_the_last_slice_is_filled_with_its_last_row(file: Path) -> None:
    seen: list[Array] = []

    class Recorder(SumAndMax):
        def _infer(self, inputs: Tensors) -> Tensors:
            seen.append(inputs["x"])
            return super()._infer(inputs)

    Recorder(file, SPEC, batch=2).run({"x": rows(3)})
    np.testing.assert_array_equal(seen[1], [[6, 7, 8], [6, 7, 8]])


def test_a_runtime_that_reuses_its_buffer_does_not_overwrite_an_earlier_slice(file: Path) -> None:
    buffer = np.zeros((1, 2), dtype=np.float32)

    class Reusing(SumAndMax):
        def _infer(self, inputs: Tensors) -> Tensors:
            buffer[:] = super()._infer(inputs)["y"]
            return {"y": buffer}

    outputs = Reusing(file, SPEC, batch=1).run({"x": rows(2)})
    np.testing.assert_array_equal(outputs["y"], [[3, 2], [12, 5]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"Inputs are named \[\], the model takes \['x'\]"),
        ({"z": rows(1)}, r"Inputs are named \['z'\]"),
        ({"x": rows(1), "z": rows(1)}, r"Inputs are named \['x', 'z'\]"),
        ({"x": rows(1).astype(np.float64)}, r"'x' is float64, the model takes float32; nothing is cast silently"),
        ({"x": rows(1)[:, :2]}, r"'x' has shape \[1, 2\], the model takes \['batch', 3\]"),
        ({"x": rows(1)[0]}, r"'x' has shape \[3\]"),
        ({"x": rows(1)[None]}, r"'x' has shape \[1, 1, 3\]"),
        ({"x": rows(0)}, r"The batch is empty"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(file: Path, inputs: Tensors, message: str) -> None:
    engine = SumAndMax(file, SPEC)
    with pytest.raises(BadInputError, match=message):
        engine.run(inputs)
    assert engine.asked == []


TWO_INPUTS = ModelSpec(
    task="null",
    inputs=(
        TensorSpec(name="left", dtype="float32", shape=("batch", "length")),
        TensorSpec(name="right", dtype="int64", shape=("batch", "length")),
    ),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", "length")),),
)


def test_a_dynamic_axis_has_one_length_in_all_inputs(file: Path) -> None:
    engine = engine_that(lambda inputs: {"y": inputs["left"]}, file, TWO_INPUTS)
    left = np.ones((2, 4), dtype=np.float32)
    assert engine.run({"left": left, "right": np.ones((2, 4), dtype=np.int64)})["y"].shape == (2, 4)
    for shape in ((2, 5), (3, 4)):
        with pytest.raises(BadInputError, match=r"'right' has shape"):
            engine.run({"left": left, "right": np.ones(shape, dtype=np.int64)})


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, r"member gave outputs \[\], the spec promises 'y'"),
        ({"z": np.zeros((2, 2), "float32")}, r"member gave outputs \['z'\]"),
        ({"y": np.zeros((2, 3), "float32")}, r"member gave 'y' of shape \[2, 3\], the spec promises \['batch', 2\]"),
        ({"y": np.zeros((1, 2), "float32")}, r"of shape \[1, 2\]"),
        ({"y": np.zeros((2, 2, 1), "float32")}, r"of shape \[2, 2, 1\]"),
        ({"y": np.zeros((), "float32")}, r"of shape \[\]"),
        ({"y": np.zeros((2, 2), "float16")}, r"member gave 'y' as float16, the spec promises float32"),
    ],
)
def test_outputs_that_break_the_promise_are_an_error_of_the_engine(file: Path, outputs: Tensors, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        engine_that(lambda _: outputs, file).run({"x": rows(2)})


def test_outputs_come_in_the_order_of_the_spec_and_without_extras(file: Path) -> None:
    first, second = (TensorSpec(name=name, dtype="float32", shape=("batch",)) for name in ("first", "second"))
    spec = ModelSpec(task="null", inputs=SPEC.inputs, outputs=(first, second))
    one = np.ones(1, dtype=np.float32)
    engine = engine_that(lambda _: {"second": one, "debug": one, "first": one}, file, spec)
    assert list(engine.run({"x": rows(1)})) == ["first", "second"]


def raising(error: Exception) -> Callable[[Tensors], Tensors]:
    def infer(_: Tensors) -> Tensors:
        raise error

    return infer


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("shape mismatch\n  at node 7"), r"^member failed while running: shape mismatch$"),
        (RuntimeError(""), r"^member failed while running: RuntimeError$"),
        (ValueError("x" * 1000), r"^member failed while running: x{300}$"),
    ],
)
def test_an_error_of_the_runtime_becomes_one_line_with_its_cause(file: Path, error: Exception, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        engine_that(raising(error), file).run({"x": rows(1)})
    assert caught.value.__cause__ is error


def test_an_error_of_wherry_passes_unchanged(file: Path) -> None:
    error = ProofRefusedError("No.")
    with pytest.raises(ProofRefusedError) as caught:
        engine_that(raising(error), file).run({"x": rows(1)})
    assert caught.value is error


def loading_with(error: Exception) -> type[Engine]:
    class Member(SumAndMax):
        name = "member"

        def _load(self, path: Path) -> None:
            raise error

    return Member


def test_a_file_that_the_runtime_refuses_is_named(file: Path) -> None:
    with pytest.raises(EngineError, match=r"^member cannot load model\.bin: not a graph$") as caught:
        loading_with(ValueError("not a graph"))(file, SPEC)
    assert "Export the variant again" in caught.value.next_step


def test_an_error_of_wherry_passes_unchanged_while_loading(file: Path) -> None:
    error = BadInputError("No.")
    with pytest.raises(BadInputError) as caught:
        loading_with(error)(file, SPEC)
    assert caught.value is error


def test_a_file_that_is_not_there_is_an_error_of_the_device(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.bin", tmp_path):
        with pytest.raises(EngineError, match="does not exist"):
            SumAndMax(path, SPEC)


class NotInstalled(SumAndMax):
    name = "not-installed"
    module = "wherry_no_such_runtime"
    extra = "no-such-extra"


class NestedNotInstalled(NotInstalled):
    module = "wherry_no_such_runtime.inner"


class WithoutDistribution(SumAndMax):
    """Its module is there, but no distribution has that name."""

    module = "json"


class Packaged(SumAndMax):
    module = "msgspec"
    distribution = "msgspec"


class OnlySometimes(SumAndMax):
    name = "sometimes"
    devices = ("cpu", "gpu")

    @classmethod
    def _unavailable(cls, device: DeviceType) -> str | None:
        return "The driver is too old." if device == "gpu" else None


@pytest.mark.parametrize("member", [NotInstalled, NestedNotInstalled])
def test_a_runtime_that_is_not_installed_is_said_with_the_command(member: type[Engine], file: Path) -> None:
    assert member.version() is None
    assert member.unsupported() == f"The runtime {member.name} is not installed."
    with pytest.raises(ToolchainMissingError, match="is not installed") as caught:
        member(file, SPEC)
    assert caught.value.next_step == member.install_hint()


def test_the_hint_is_the_exact_command() -> None:
    assert NotInstalled.install_hint() == "Run: pip install 'wherry[no-such-extra]'"
    assert SumAndMax.install_hint() == "Choose another engine."


def test_the_version_is_that_of_the_distribution() -> None:
    import msgspec

    assert Packaged.version() == msgspec.__version__
    assert Packaged.unsupported() is None


def test_a_runtime_without_a_distribution_has_an_unknown_version() -> None:
    assert WithoutDistribution.version() == "unknown"
    assert WithoutDistribution.unsupported() is None


def test_a_device_that_an_engine_cannot_use_is_refused_before_work_starts(file: Path) -> None:
    assert SumAndMax.unsupported("gpu") == "The engine sum-and-max does not run on gpu."
    assert OnlySometimes.unsupported("gpu") == "The driver is too old."
    assert OnlySometimes.unsupported("cpu") is None
    with pytest.raises(ToolchainMissingError, match=r"The driver is too old\."):
        OnlySometimes(file, SPEC, options=EngineOptions(device="gpu"))
