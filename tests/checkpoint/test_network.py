"""From real files to the network that is captured: weights that fit or not, parts, adapters, weight normalisation."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.checkpoint import nets
from wherry.checkpoint.capture import capture
from wherry.checkpoint.describe import Description, complete_spec, draft_spec
from wherry.checkpoint.network import LoadedNetwork, NetworkRequest, load_network
from wherry.checkpoint.opening import open_checkpoint
from wherry.checkpoint.programs import make_program
from wherry.core.errors import BadInputError, CheckpointError, SpecMismatchError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.runtime.program import open_program

pytestmark = pytest.mark.slow

IMAGES = Description(task="classification", input_size=(16, 16), classes=3)


def spec_for(width: int, out: int, *, batch: str | int = "batch") -> ModelSpec:
    x = TensorSpec(name="x", dtype="float32", shape=(batch, width))
    return ModelSpec(
        task="embedding", inputs=(x,), outputs=(TensorSpec(name="y", dtype="float32", shape=(batch, out)),)
    )


def load(path: Path, spec: ModelSpec | None = None, **request: object) -> LoadedNetwork:
    return load_network(open_checkpoint(path), NetworkRequest(**request), spec or draft_spec(IMAGES))


def trained(build: Callable[[], "torch.nn.Module"]) -> "torch.nn.Module":
    torch.manual_seed(0)
    return build().eval()


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module.model."])
def test_a_wrappers_prefix_is_taken_off_and_told(prefix: str, tmp_path: Path) -> None:
    net = trained(nets.Tiny)
    torch.save({prefix + name: value for name, value in net.state_dict().items()}, tmp_path / "x.pt")

    loaded = load(tmp_path / "x.pt", network=nets.Tiny)

    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded.network(x), net(x))
    assert prefix in " ".join(loaded.notes)
    assert bool(loaded.notes) == bool(prefix)


def test_what_lies_beside_the_network_is_left_out_and_named(tmp_path: Path) -> None:
    state = {f"model.{name}": value for name, value in trained(nets.Tiny).state_dict().items()}
    torch.save({"state_dict": {**state, "loss.weight": torch.ones(3)}}, tmp_path / "x.pt")
    assert "loss.weight" in load(tmp_path / "x.pt", network=nets.Tiny).notes[1]

    torch.save({**state, "model.more": torch.ones(3)}, tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match=r"does not fit.*missing \(features\.0\.weight"):
        load(tmp_path / "y.pt", network=nets.Tiny)
    with pytest.raises(CheckpointError, match=r"head\.weight is \[3, 4\] instead of \[5, 4\]"):
        load(tmp_path / "x.pt", network=lambda: nets.Tiny(5))


def test_a_checkpoint_of_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")

    class Trained(lightning.LightningModule):
        def __init__(self, arch: str, num_classes: int) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = nets.Tiny(num_classes)

        def training_step(self, batch: "torch.Tensor", index: int) -> "torch.Tensor":
            return self.model(batch).square().mean()

        def configure_optimizers(self) -> "torch.optim.Optimizer":
            return torch.optim.Adam(self.parameters())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
        )
        module = Trained(arch="tiny", num_classes=3)
        trainer.fit(module, torch.utils.data.DataLoader(torch.rand(4, 3, 16, 16), batch_size=2))
        trainer.save_checkpoint(tmp_path / "x.ckpt")

    checkpoint = open_checkpoint(tmp_path / "x.ckpt")
    assert checkpoint.metadata["hyper_parameters"] == {"arch": "tiny", "num_classes": 3}
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(load(tmp_path / "x.ckpt", network=nets.Tiny).network(x), module.model.eval()(x))


def test_torchscript_and_pt2_need_no_factory(tmp_path: Path) -> None:
    net, x = trained(nets.Tiny), torch.rand(3, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(net), tmp_path / "x.ts")
        torch.export.save(
            torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("n")},)), tmp_path / "x.pt2"
        )
    made = make_program(open_checkpoint(tmp_path / "x.pt2"), NetworkRequest(), IMAGES, tmp_path)
    assert made.spec.outputs[0] == TensorSpec(name="logits", dtype="float32", shape=("batch", 3))
    assert torch.allclose(open_program(made.path).module()(x), net(x), atol=1e-6)


def test_a_traced_network_that_fixes_its_batch(tmp_path: Path) -> None:
    from wherry.checkpoint.graphs import from_script

    class Flat(torch.nn.Module):
        def forward(self, x):
            return x.reshape(2, -1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(Flat(), torch.rand(2, 6))
        good = torch.jit.script(trained(nets.Tiny))
    with pytest.raises((CheckpointError, SpecMismatchError)):
        capture(from_script(script, spec_for(6, 6)), spec_for(6, 6), tmp_path / "p.pt2")
    graph = from_script(good, draft_spec(IMAGES))
    program = capture(graph, complete_spec(graph, IMAGES), tmp_path / "q.pt2")
    assert program.max_abs < 1e-5
    with pytest.raises(SpecMismatchError, match="refuses"):
        from_script(good, spec_for(6, 6))


def test_a_part_with_weight_normalisation_is_captured_folded(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = trained(nets.Autoencoder)
        torch.save(net.state_dict(), tmp_path / "x.pt")
        x = torch.randn(4, 6)
        expected = net.parts["encoder"](x)
        loaded = load(tmp_path / "x.pt", spec_for(6, 2), network=nets.Autoencoder, submodule="parts.encoder")

    assert torch.allclose(loaded.network(x), expected, atol=1e-6)
    assert sorted(loaded.network.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert any("folded" in note and "2 of them" in note for note in loaded.notes)
    with pytest.raises(BadInputError, match="'parts' has no sub-module 'middle'; it has: encoder, decoder"):
        load(tmp_path / "x.pt", spec_for(6, 2), network=nets.Autoencoder, submodule="parts.middle")
    with pytest.raises(BadInputError, match="The network has no sub-module 'body'"):
        load(tmp_path / "x.pt", spec_for(6, 2), network=nets.Autoencoder, submodule="body")


def test_an_adapter_splits_a_detectors_answer(tmp_path: Path) -> None:
    net = trained(nets.Joined)
    torch.save(net.state_dict(), tmp_path / "x.pt")
    said = Description(task="detection", input_size=(16, 16), preset="yolo", class_names=("a", "b"))

    made = make_program(
        open_checkpoint(tmp_path / "x.pt"), NetworkRequest(network=nets.Joined, adapt=nets.Split), said, tmp_path
    )

    assert [(t.name, t.shape) for t in made.spec.outputs] == [("boxes", ("batch", 4, 4)), ("scores", ("batch", 2, 4))]
    assert (made.spec.postprocessing, made.spec.preprocessing.fit) == ("nms", "letterbox")
    boxes, scores = open_program(made.path).module()(torch.rand(3, 3, 16, 16))
    assert (boxes.shape, scores.shape) == ((3, 4, 4), (3, 2, 4))


def test_a_factory_that_fails_is_named_with_its_line(tmp_path: Path) -> None:
    torch.save(trained(nets.Tiny).state_dict(), tmp_path / "x.pt")
    with pytest.raises(BadInputError, match=r"nets\.py, line \d+ \(\"return Tiny\(classes=math\.factorial"):
        load(tmp_path / "x.pt", network=nets.failing)
    with pytest.raises(BadInputError, match="gave a int"):
        load(tmp_path / "x.pt", network=nets.nothing)
    with pytest.raises(CheckpointError, match="does not say of which network"):
        load(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("network", "code", "what"),
    [
        (nets.Branching, "if x.sum\\(\\) > 0", "torch.where"),
        (nets.Counting, "x\\[0, 0\\].item\\(\\)", "torch.where"),
        (nets.Sorting, "numpy\\(\\)", "torch operations"),
    ],
)
def test_what_cannot_be_captured_is_named_by_its_line(
    network: type["torch.nn.Module"], code: str, what: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=rf"nets\.py, line \d+ \(\".*{code}") as error:
        capture(network(), spec_for(4, 3), tmp_path / "p.pt2")
    assert what in error.value.next_step
    assert not (tmp_path / "p.pt2").exists()


def test_an_axis_that_the_network_fixes(tmp_path: Path) -> None:
    with pytest.raises(SpecMismatchError, match="dynamic axes that the network fixes") as error:
        capture(nets.Fixed(), spec_for(4, 3), tmp_path / "p.pt2")
    assert "numbers" in error.value.next_step
    assert capture(nets.Fixed(), spec_for(4, 3, batch=2), tmp_path / "p.pt2").path.exists()


@pytest.mark.parametrize(("kind", "name"), [("weight", "head.bias"), ("buffer", "features.1.running_var")])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_named(kind: str, name: str, value: float, tmp_path: Path) -> None:
    net = trained(nets.Tiny)
    net.state_dict()[name][1] = value
    torch.save(net.state_dict(), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=rf"The {kind} '{name}' holds 1 values of"):
        make_program(open_checkpoint(tmp_path / "x.pt"), NetworkRequest(network=nets.Tiny), IMAGES, tmp_path)


def test_a_mask_of_infinities_that_is_not_saved_is_no_fault(tmp_path: Path) -> None:
    class Masked(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)
            self.register_buffer("mask", torch.tensor([0.0, float("-inf"), 0.0]), persistent=False)

        def forward(self, x):
            return (super().forward(x) + self.mask).softmax(-1)

    assert capture(Masked(), spec_for(4, 3), tmp_path / "p.pt2").path.exists()
