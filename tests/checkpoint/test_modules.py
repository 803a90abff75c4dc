"""Whole pickled networks of real libraries: refused without the flag, opened with it, and only by known names."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.checkpoint import nets
from wherry.checkpoint.describe import Description
from wherry.checkpoint.modules import load_pickled
from wherry.checkpoint.network import NetworkRequest
from wherry.checkpoint.networks import NetworkName
from wherry.checkpoint.opening import open_checkpoint
from wherry.checkpoint.programs import MadeProgram, make_program
from wherry.core.errors import CheckpointError, ScanRefusedError
from wherry.runtime.program import open_program

pytestmark = pytest.mark.slow
LIBRARIES = {
    "torch": lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
    "torchvision": NetworkName.parse("torchvision:squeezenet1_1?num_classes=4").build,
    "timm": NetworkName.parse("timm:test_efficientnet?num_classes=3").build,
}


def made(path: Path, said: Description, folder: Path) -> MadeProgram:
    return make_program(open_checkpoint(path, trust_pickle=True), NetworkRequest(), said, folder)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_whole_network_needs_the_flag_and_then_no_factory(library: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net: torch.nn.Module = LIBRARIES[library]().eval()
    torch.save(net, tmp_path / "x.pt")
    with pytest.raises(ScanRefusedError, match="whole pickled network") as refusal:
        open_checkpoint(tmp_path / "x.pt")
    assert "--allow-pickled-module" in refusal.value.next_step

    program = made(tmp_path / "x.pt", Description(task="embedding", input_size=(64, 64)), tmp_path)

    x = torch.rand(3, 3, 64, 64)
    assert torch.allclose(open_program(program.path).module()(x), net(x), atol=1e-5)
    assert open_checkpoint(tmp_path / "x.pt", trust_pickle=True).format == "module"


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write what a training run of Ultralytics leaves, as half-precision weights in a whole network."""
    folder = tmp_path_factory.mktemp("yolo")

    def save(name: str) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("YOLO_CONFIG_DIR", str(folder))
            patch.setenv("YOLO_OFFLINE", "1")
            from ultralytics import YOLO

            torch.manual_seed(0)
            model = YOLO(f"{name}.yaml", verbose=False).model
        path = folder / f"{name}.pt"
        facts = {"train_args": {"imgsz": 64}, "date": "2026-11-21", "version": "8.4.0"}
        torch.save(
            {"epoch": -1, "best_fitness": None, "model": model.half(), "ema": None, "optimizer": None, **facts}, path
        )
        return path

    return save


@pytest.mark.parametrize(("name", "outputs"), [("yolov8n", ["boxes", "scores"]), ("yolov8n-seg", 4)])
def test_ultralytics_gives_plain_split_tensors(
    name: str, outputs: object, yolo: Callable[[str], Path], tmp_path: Path
) -> None:
    path = yolo(name)
    program = made(path, Description(task="detection", input_size=(64, 64), preset="yolo", classes=80), tmp_path)

    shapes = {tensor.name: tensor.shape[1:] for tensor in program.spec.outputs}
    assert shapes["boxes"] == (4, 84)
    assert shapes["scores"] == (80, 84)
    assert list(shapes) == outputs or list(shapes.items())[2:] == [
        ("coefficients", (32, 84)),
        ("prototypes", (32, 16, 16)),
    ]
    assert any("'model' of the checkpoint" in note for note in program.notes)
    assert any("80 classes" in note for note in program.notes)
    assert all(value.dtype == torch.float32 for value in open_program(program.path).parameters())


def test_an_average_of_the_weights_is_taken_first(tmp_path: Path) -> None:
    plain, average = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    torch.save({"model": plain, "ema": average, "epoch": 3}, tmp_path / "x.pt")
    program = made(tmp_path / "x.pt", Description(task="embedding", input_shape=(4,)), tmp_path)
    x = torch.rand(2, 4)
    assert torch.allclose(open_program(program.path).module()(x), average(x), atol=1e-6)
    assert open_checkpoint(tmp_path / "x.pt", trust_pickle=True).metadata["epoch"] == 3


def test_the_flag_opens_no_class_that_is_not_on_the_list(tmp_path: Path) -> None:
    torch.save(nets.Tiny(), tmp_path / "x.pt")
    with pytest.raises(ScanRefusedError, match=r"nets.*Tiny"):
        open_checkpoint(tmp_path / "x.pt", trust_pickle=True)
    with (tmp_path / "x.pt").open("rb") as file, pytest.raises(ScanRefusedError, match=r"nets\.Tiny"):
        load_pickled(file)  # even if the scan had let it through

    class Attack:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"model": torch.nn.Linear(4, 3), "more": Attack()}, tmp_path / "y.pt")
    for trust in (False, True):
        with pytest.raises(ScanRefusedError, match="print"):
            open_checkpoint(tmp_path / "y.pt", trust_pickle=trust)


def test_plain_weights_open_with_the_flag_as_without(tmp_path: Path) -> None:
    state = torch.nn.Linear(4, 3).state_dict()
    torch.save(state, tmp_path / "x.pt")
    torch.save(state, tmp_path / "y.pt", _use_new_zipfile_serialization=False)
    for name, file_format in (("x.pt", "torch-zip"), ("y.pt", "torch-legacy")):
        checkpoint = open_checkpoint(tmp_path / name, trust_pickle=True)
        assert checkpoint.format == file_format
        assert {tensor.name for tensor in checkpoint.tensors} == {"weight", "bias"}
    torch.save(torch.nn.Linear(4, 3), tmp_path / "z.pt", _use_new_zipfile_serialization=False)
    with pytest.raises((CheckpointError, ScanRefusedError)):
        open_checkpoint(tmp_path / "z.pt", trust_pickle=True)


def test_torchscript_needs_the_flag_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = nets.Tiny().eval(), torch.rand(3, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(net), tmp_path / "script.pt")
        torch.jit.save(torch.jit.trace(net, x), tmp_path / "trace.pt")
    said = Description(task="classification", input_size=(16, 16), classes=3)
    for name in ("script.pt", "trace.pt"):
        with pytest.raises(ScanRefusedError, match="TorchScript code"):
            open_checkpoint(tmp_path / name)
        program = made(tmp_path / name, said, tmp_path)
        assert torch.allclose(open_program(program.path).module()(x), net(x), atol=1e-6)
        assert open_checkpoint(tmp_path / name, trust_pickle=True).format == "torchscript"


@pytest.mark.parametrize("trust", [False, True])
def test_a_truncated_network_is_damaged(trust: bool, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(4, 3), tmp_path / "x.pt")
    whole = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path / "cut.pt", trust_pickle=trust)
