"""A captured program agrees with its network, and a spec that contradicts the network is refused with the reason."""

import hashlib
import io
import os
from pathlib import Path

import pytest

from wherry.checkpoint.capture import capture
from wherry.checkpoint.scan import scan
from wherry.core.errors import CheckpointError, SpecMismatchError, StorageError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")
nn = torch.nn


class Net(nn.Module):
    def __init__(self, seed: int = 0, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(width, 10)

    def forward(self, image: "torch.Tensor") -> "torch.Tensor":
        return self.out(self.drop(torch.relu(self.norm(self.conv(image))).mean((2, 3))))


class TwoHeads(nn.Module):
    def forward(self, board: "torch.Tensor", turn: "torch.Tensor") -> dict[str, "torch.Tensor"]:
        value = board.mean(1, keepdim=True) * turn.unsqueeze(1).float()
        return {"value": value, "policy": board * 2}


def tensor(name: str, *shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def spec(*, takes: TensorSpec | None = None, gives: TensorSpec | None = None) -> ModelSpec:
    inputs = (takes or tensor("image", "batch", 1, 8, 8),)
    return ModelSpec(task="classification", inputs=inputs, outputs=(gives or tensor("logits", "batch", 10),))


@pytest.fixture(scope="session")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captured") / "program.pt2"
    capture(Net(), spec(), path)
    return path


def test_equal_weights_give_equal_bytes_without_this_machines_paths(captured: Path, tmp_path: Path) -> None:
    net = Net()
    net.train()

    again = capture(net, spec(), tmp_path / "other name.pt2")

    data = again.path.read_bytes()
    assert net.training
    assert data == captured.read_bytes()
    assert (again.sha256, again.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert os.fsencode(Path(__file__).parent) not in data
    assert again.tools["torch"] == torch.__version__
    assert again.max_abs < 1e-5


def test_the_file_is_clean_and_runs_at_any_batch_size(captured: Path) -> None:
    assert (scan(captured).format, scan(captured).findings) == ("pt2", ())
    program = torch.export.load(captured).module()
    net = Net().eval()
    for batch in (1, 5):
        image = torch.rand(batch, 1, 8, 8)
        assert torch.allclose(program(image), net(image), atol=1e-5)


def test_the_architecture_is_that_of_the_graph_and_not_of_the_weights(tmp_path: Path) -> None:
    first = capture(Net(0), spec(), tmp_path / "a.pt2")
    second = capture(Net(1), spec(), tmp_path / "b.pt2")
    wider = capture(Net(0, width=5), spec(), tmp_path / "c.pt2")

    assert first.architecture == second.architecture != wider.architecture
    assert first.sha256 != second.sha256


def test_several_inputs_and_outputs_by_name(tmp_path: Path) -> None:
    takes = (tensor("board", "batch", 6), tensor("turn", "batch", dtype="int64"))
    gives = (tensor("value", "batch", 1), tensor("policy", "batch", 6))

    program = capture(TwoHeads(), ModelSpec(task="policy_value", inputs=takes, outputs=gives), tmp_path / "p.pt2")

    assert program.max_abs == 0.0
    with pytest.raises(SpecMismatchError, match="promises the outputs"):
        capture(TwoHeads(), ModelSpec(task="x", inputs=takes, outputs=gives[:1]), tmp_path / "p.pt2")
    with pytest.raises(SpecMismatchError, match="in the order"):  # formats without names take outputs by their place
        capture(TwoHeads(), ModelSpec(task="x", inputs=takes, outputs=gives[::-1]), tmp_path / "p.pt2")


def test_spatial_axes_can_be_dynamic_and_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    free = ModelSpec(
        task="classification",
        inputs=(tensor("image", "batch", 1, "height", "width"),),
        outputs=(tensor("logits", "batch", 10),),
        preprocessing=Preprocessing(kind="image", size=(12, 16), color="L"),
    )
    path = capture(Net(), free, tmp_path / "free.pt2").path
    assert torch.export.load(path).module()(torch.rand(3, 1, 20, 9)).shape == (3, 10)
    capture(Net(), free, path, axes={"height": 24, "width": 24})

    fixed = spec(takes=tensor("image", 1, 1, 8, 8), gives=tensor("logits", 1, 10))
    path = capture(Net(), fixed, tmp_path / "fixed.pt2").path
    with pytest.raises(Exception, match=r"(?i)shape|guard|expected"):
        torch.export.load(path).module()(torch.rand(2, 1, 8, 8))


CONTRADICTIONS = {
    "another number of channels": (spec(takes=tensor("image", "batch", 3, 8, 8)), "refuses what the spec says"),
    "another rank": (spec(takes=tensor("image", "batch", 8)), "refuses what the spec says"),
    "another input name": (spec(takes=tensor("x", "batch", 1, 8, 8)), r"\['x'\].*\['image'\]"),
    "an unknown type": (spec(takes=tensor("image", "batch", 1, 8, 8, dtype="float33")), "float33"),
    "another input type": (spec(takes=tensor("image", "batch", 1, 8, 8, dtype="int64")), "refuses"),
    "an axis that is no name": (spec(takes=tensor("image", "batch size", 1, 8, 8)), "cannot name an axis"),
    "another number of classes": (spec(gives=tensor("logits", "batch", 9)), r"\['batch', 9\].*\[2, 10\]"),
    "another output rank": (spec(gives=tensor("logits", "batch")), r"gives \[2, 10\]"),
    "another output type": (spec(gives=tensor("logits", "batch", 10, dtype="float16")), "as float16.*gives float32"),
    "no input": (ModelSpec(task="x", inputs=(), outputs=()), "takes"),
    "two outputs": (
        ModelSpec(task="x", inputs=spec().inputs, outputs=(tensor("a", "batch", 10), tensor("b", "batch", 1))),
        "promises 2 outputs",
    ),
}


@pytest.mark.parametrize(("wrong", "reason"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_spec_that_contradicts_the_network_is_refused(wrong: ModelSpec, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SpecMismatchError, match=reason) as error:
        capture(Net(), wrong, tmp_path / "p.pt2")
    assert error.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


class FixesBatch(nn.Module):
    def forward(self, image: "torch.Tensor") -> "torch.Tensor":
        return image.reshape(2, 64)[:, :10] + 0.0


class PicksOne(nn.Module):
    def forward(self, image: "torch.Tensor") -> "torch.Tensor":
        kept, _ = image.flatten(1).max(1)
        torch._check(image.shape[0] >= 2)
        return kept.unsqueeze(1).expand(-1, 10)


class Chance(nn.Module):
    def forward(self, image: "torch.Tensor") -> "torch.Tensor":
        return torch.rand(image.shape[0], 10)


class Branches(nn.Module):
    def forward(self, image: "torch.Tensor") -> "torch.Tensor":
        return image.flatten(1)[:, :10] * (2 if image.sum().item() > 0 else 3)


class Overflows(nn.Module):
    def forward(self, image: "torch.Tensor") -> "torch.Tensor":
        return image.flatten(1)[:, :10] / 0.0


class Words(nn.Module):
    def forward(self, image: "torch.Tensor") -> str:
        return "no tensor"


class ListOfWords(nn.Module):
    def forward(self, image: "torch.Tensor") -> list[str]:
        return ["no tensor"]


@pytest.mark.parametrize(
    ("module", "error", "reason"),
    [
        (FixesBatch(), SpecMismatchError, "fixes"),
        (PicksOne(), SpecMismatchError, "dynamic axes that the network fixes|refuses|batch of 1"),
        (Chance(), CheckpointError, "depend on chance|differs"),
        (Branches(), CheckpointError, "cannot capture Branches"),
        (Overflows(), CheckpointError, "not finite"),
        (Words(), SpecMismatchError, "gives str"),
        (ListOfWords(), SpecMismatchError, "as a str"),
    ],
)
def test_a_network_that_cannot_be_carried_is_refused(
    module: "nn.Module", error: type[Exception], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=reason):
        capture(module, spec(), tmp_path / "p.pt2")
    assert list(tmp_path.iterdir()) == []


class Sorts(nn.Module):
    def forward(self, image: "torch.Tensor") -> "torch.Tensor":
        values, order = image.flatten(1).topk(10)
        return torch.cat([values[:, :5], order[:, :5].to(values.dtype), image.new_zeros(image.shape[0], 0)], dim=1)


def test_operators_with_several_results_have_an_architecture_too(tmp_path: Path) -> None:
    assert (
        capture(Sorts(), spec(), tmp_path / "a.pt2").architecture
        != capture(Net(), spec(), tmp_path / "b.pt2").architecture
    )


def test_a_spec_without_inputs_for_a_network_without_inputs_is_refused(tmp_path: Path) -> None:
    class Alone(nn.Module):
        def forward(self) -> "torch.Tensor":
            return torch.zeros(1)

    with pytest.raises(SpecMismatchError, match="no input"):
        capture(Alone(), ModelSpec(task="x", inputs=(), outputs=()), tmp_path / "p.pt2")


def test_weights_that_are_not_numbers_are_refused_by_name(tmp_path: Path) -> None:
    net = Net()
    nn.init.constant_(net.out.bias, float("nan"))

    with pytest.raises(CheckpointError, match=r"out\.bias"):
        capture(net, spec(), tmp_path / "p.pt2")


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError) as error:
        capture(Net(), spec(), tmp_path / "file" / "p.pt2")
    assert error.value.exit_code == 7


def test_torch_reads_from_bytes_what_was_written(captured: Path) -> None:
    assert torch.export.load(io.BytesIO(captured.read_bytes())).module()(torch.rand(2, 1, 8, 8)).shape == (2, 10)
