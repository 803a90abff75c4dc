"""Real checkpoints of torch and safetensors are opened, summed up and loaded; damaged and foreign ones are not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.checkpoint.capture import capture
from wherry.checkpoint.interface import Checkpoint
from wherry.checkpoint.loaders import LOADERS, loader_for
from wherry.checkpoint.opening import load_into, open_checkpoint
from wherry.checkpoint.plain import MAX_FACTS, plain_facts
from wherry.checkpoint.scan import scan
from wherry.core.errors import CheckpointError, NotFoundError, ScanRefusedError
from wherry.core.model import ModelSpec, TensorSpec

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")
FACTS = {"epoch": 3, "arch": "net", "classes": ["a", "b"], "best": 0.5}


def network(width: int = 3) -> "torch.nn.Module":
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.BatchNorm1d(width))


def save_plain(path: Path) -> None:
    torch.save(network().state_dict(), path)


def save_legacy(path: Path) -> None:
    torch.save({"state_dict": network().state_dict(), **FACTS}, path, _use_new_zipfile_serialization=False)


def save_nested(path: Path) -> None:
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    state = {
        "model_state_dict": network().state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
    }
    torch.save(state | FACTS, path)


def save_safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file(network().state_dict(), path, metadata={"arch": "net"})


def save_pt2(path: Path) -> None:
    x = TensorSpec(name="input", dtype="float32", shape=("batch", 4))
    y = TensorSpec(name="y", dtype="float32", shape=("batch", 3))
    capture(network(), ModelSpec(task="embedding", inputs=(x,), outputs=(y,)), path)


SAVED = {
    "plain": (save_plain, "torch-zip"),
    "legacy": (save_legacy, "torch-legacy"),
    "nested": (save_nested, "torch-zip"),
    "safetensors": (save_safetensors, "safetensors"),
    "pt2": (save_pt2, "pt2"),
}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("saved")

    def path(name: str) -> Path:
        file = folder / name
        if not file.exists():
            SAVED[name][0](file)
        return file

    return path


@pytest.mark.parametrize("name", SAVED)
def test_what_the_frameworks_write_is_opened_and_loads_into_a_network(name: str, saved: Callable[[str], Path]) -> None:
    checkpoint = open_checkpoint(saved(name))
    fresh = network()
    torch.nn.init.zeros_(fresh[0].weight)

    load_into(fresh, checkpoint)

    assert checkpoint.format == SAVED[name][1]
    assert checkpoint.sha256 == scan(saved(name)).sha256
    expected = network().state_dict()
    assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in checkpoint.tensors} == {
        key: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for key, value in expected.items()
    }
    assert checkpoint.elements == sum(value.numel() for value in expected.values())
    assert all(torch.equal(value, expected[key]) for key, value in fresh.state_dict().items())


def test_facts_beside_the_weights_are_kept_and_are_plain(saved: Callable[[str], Path]) -> None:
    nested = open_checkpoint(saved("nested")).metadata

    assert {key: nested[key] for key in FACTS} == FACTS
    assert "rng" not in nested
    json.dumps(nested)
    assert open_checkpoint(saved("legacy")).metadata == FACTS
    assert open_checkpoint(saved("safetensors")).metadata == {"arch": "net"}


@pytest.mark.parametrize("name", SAVED)
def test_a_truncated_checkpoint_is_damaged_at_every_length(
    name: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = saved(name).read_bytes()
    cut = tmp_path / "cut.pt"
    for length in {0, 1, 4, 9, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1}:
        cut.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as error:
            open_checkpoint(cut)
        assert error.value.exit_code == 4
        assert str(cut) in error.value.message


def test_a_pickled_module_is_refused_and_torchscript_too(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(network(), path)
    with pytest.raises(ScanRefusedError, match="whole pickled network") as refusal:
        open_checkpoint(path)
    assert refusal.value.exit_code == 3

    torch.jit.save(torch.jit.script(network()), path)
    with pytest.raises(ScanRefusedError, match="TorchScript"):
        open_checkpoint(path)


def test_a_file_without_weights_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for value in ([1, 2], {"epoch": 3}, {}):
        torch.save(value, path)
        with pytest.raises(CheckpointError, match="weights"):
            open_checkpoint(path)
    with pytest.raises(NotFoundError):
        open_checkpoint(tmp_path / "nothing.pt")


def test_a_stream_that_the_scan_allows_and_torch_does_not_is_an_error_of_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(network().state_dict(), path, pickle_protocol=4)
    assert scan(path).clean
    with pytest.raises(CheckpointError, match="state_dict"):
        open_checkpoint(path)


def test_weights_that_do_not_fit_are_named_and_nothing_changes(saved: Callable[[str], Path]) -> None:
    checkpoint = open_checkpoint(saved("plain"))
    wider = network(5)
    before = {key: value.clone() for key, value in wider.state_dict().items()}

    with pytest.raises(CheckpointError, match=r"0\.weight is \[3, 4\] instead of \[5, 4\]"):
        load_into(wider, checkpoint)
    with pytest.raises(CheckpointError, match=r"4 missing \(a\.weight.*7 unexpected \(0\.weight"):
        load_into(torch.nn.ModuleDict({name: torch.nn.Linear(4, 3) for name in "ab"}), checkpoint)
    assert all(torch.equal(value, before[key]) for key, value in wider.state_dict().items())


def test_a_file_that_changed_since_it_was_opened_is_not_loaded(saved: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(saved("plain").read_bytes())
    checkpoint = open_checkpoint(path)
    path.write_bytes(saved("nested").read_bytes())

    with pytest.raises(CheckpointError, match="no longer the file"):
        load_into(network(), checkpoint)


def test_the_table_of_loaders_names_real_members() -> None:
    assert {loader_for(name).name for name in LOADERS} == {"state_dict", "safetensors", "pt2", "torchscript", "onnx"}
    with pytest.raises(CheckpointError, match="no loader"):
        loader_for("gif")


def test_everything_plain_that_torch_saves_is_clean(tmp_path: Path) -> None:
    from collections import Counter, OrderedDict

    whole = torch.arange(24.0).reshape(2, 3, 4)
    value = OrderedDict(
        parameter=torch.nn.Parameter(whole),
        view=whole[:, 1],
        transposed=whole.transpose(0, 2),
        conjugate=torch.view_as_complex(torch.ones(2, 2)).conj(),
        empty=torch.empty(0, 3),
        scalar=torch.tensor(3),
        facts={
            "size": whole.shape,
            "dtype": torch.bfloat16,
            "device": whole.device,
            "raw": b"\x00\xff",
            "many": {1, 2},
        },
        more=[Counter("aab"), 1 + 2j, bytearray(b"x"), 1 << 70, -5, None, True, 1e-9, "ü", (1, (2, 3))],
    )
    for name in (
        "uint16",
        "uint32",
        "uint64",
        "bfloat16",
        "float16",
        "float64",
        "int8",
        "bool",
        "float8_e4m3fn",
        "complex64",
    ):
        value[name] = torch.zeros(3, dtype=getattr(torch, name))
    path = tmp_path / "x.pt"

    torch.save(value, path)

    assert scan(path).findings == ()
    found = {tensor.name: (tensor.dtype, tensor.shape) for tensor in open_checkpoint(path).tensors}
    assert found["view"] == ("float32", (2, 4))
    assert found["uint16"] == ("uint16", (3,))


def test_facts_are_bounded() -> None:
    bomb: object = "x"
    for _ in range(60):
        bomb = [bomb, bomb]

    def size(value: object) -> int:
        return 1 + sum(map(size, value)) if isinstance(value, list) else 1

    assert size(plain_facts({"bomb": bomb}).get("bomb", [])) <= MAX_FACTS
    kept = plain_facts({"nan": float("nan"), "big": 1 << 80, "t": object(), 3: (1, True, None), "s": {2}})
    assert kept == {"nan": "nan", "3": [1, True, None], "s": [2]}


def test_a_checkpoint_is_a_value(saved: Callable[[str], Path]) -> None:
    first, second = open_checkpoint(saved("plain")), open_checkpoint(saved("plain"))

    assert isinstance(first, Checkpoint)
    assert first == second
