"""Networks by name: from the table only, with plain arguments, and never from the net."""

import json
from pathlib import Path

import pytest

from wherry.checkpoint.networks import NetworkName, is_network_name
from wherry.checkpoint.opening import open_checkpoint
from wherry.checkpoint.stored import stored_network, stored_networks
from wherry.core.errors import BadInputError, CheckpointError, NotFoundError, UsageError

torch = pytest.importorskip("torch")
TIMM = "timm:test_efficientnet?num_classes=3"


def test_a_name_is_read_and_written() -> None:
    name = NetworkName.parse("smp:Unet?encoder_name=resnet18&classes=5&decoder_channels=[8,8]&encoder_depth=2")
    assert name.arguments == {"encoder_name": "resnet18", "classes": 5, "decoder_channels": [8, 8], "encoder_depth": 2}
    assert NetworkName.parse(str(name)) == name
    assert name.with_classes(9) == name
    assert str(NetworkName.parse("timm:resnet18").with_classes(4)) == "timm:resnet18?num_classes=4"
    assert is_network_name("timm:x")
    assert not is_network_name("package.module:function")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("os:system", NotFoundError),
        ("timm:", NotFoundError),
        ("timm:hf-hub:timm/resnet18.a1_in1k", NotFoundError),
        ("timm:local-dir:/tmp/x", NotFoundError),
        ("torchvision:load_state_dict_from_url", NotFoundError),
        ("smp:from_pretrained", NotFoundError),
        ("timm:resnet18?pretrained=true", BadInputError),
        ("timm:resnet18?checkpoint_path=x.pt", BadInputError),
        ("timm:resnet18?global_pool=../x", BadInputError),
        ("torchvision:resnet18?weights=DEFAULT", BadInputError),
        ("smp:Unet?encoder_name=tu-hf-hub:timm/x", BadInputError),
        ("smp:Unet?encoder_weights=imagenet", BadInputError),
        ("smp:Unet?encoder_name=nosuch", BadInputError),
        ("timm:resnet18?num_classes", UsageError),
    ],
)
def test_what_is_not_in_the_table_is_not_built(text: str, error: type[Exception]) -> None:
    pytest.importorskip("timm")
    with pytest.raises(error):
        NetworkName.parse(text).build()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (TIMM, (2, 3)),
        ("torchvision:squeezenet1_1?num_classes=4", (2, 4)),
        ("smp:Unet?encoder_name=resnet18&classes=5&encoder_depth=3&decoder_channels=[16,8,8]", (2, 5, 64, 64)),
    ],
)
def test_real_libraries_build_what_was_named(text: str, shape: tuple[int, ...]) -> None:
    network = NetworkName.parse(text).build().eval()
    with torch.no_grad():
        assert tuple(network(torch.rand(2, 3, 64, 64)).shape) == shape


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"architecture": "timm:efficientnet_b0", "num_classes": 10}, ["timm:efficientnet_b0?num_classes=10"]),
        ({"arch": "timm:resnet18", "n_classes": 2}, ["timm:resnet18?num_classes=2"]),
        (
            {"model_name": "resnet18", "class_names": ["a", "b"]},
            ["timm:resnet18?num_classes=2", "torchvision:resnet18?num_classes=2"],
        ),
        ({"model_name": "resnet18", "library": "torchvision", "nc": 4}, ["torchvision:resnet18?num_classes=4"]),
        (
            {"architecture": "smp:Unet", "model_args": {"encoder_name": "resnet18", "num_classes": 5}},
            ["smp:Unet?encoder_name=resnet18&classes=5"],
        ),
        (
            {"architecture": "timm:resnet18", "num_classes": "7", "model_args": '{"in_chans": 1}'},
            ["timm:resnet18?in_chans=1&num_classes=7"],
        ),
        ({"hyper_parameters": {"arch": "timm:resnet18", "num_classes": 6}}, ["timm:resnet18?num_classes=6"]),
        ({"architecture": "timm:resnet18?num_classes=3", "num_classes": 8}, ["timm:resnet18?num_classes=3"]),
        ({"epoch": 3, "model": 4}, []),
    ],
)
def test_the_spellings_of_training_loops_are_understood(facts: dict[str, object], expected: list[str]) -> None:
    assert [str(name) for name in stored_networks(facts)] == expected


def test_an_import_string_inside_a_file_is_never_followed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="never imported"):
        stored_networks({"architecture": "os:system"})
    with pytest.raises(CheckpointError, match="does not say"):
        stored_network({}, {}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="cannot be built"):
        stored_network({"arch": "timm:nosuch"}, {}, tmp_path / "x.pt")


@pytest.mark.slow
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_name_that_two_libraries_know_means_the_one_whose_weights_fit(library: str, tmp_path: Path) -> None:
    trained = NetworkName.parse(f"{library}:efficientnet_b0?num_classes=5").build()
    torch.save({"arch": "efficientnet_b0", "num_classes": 5, "state_dict": trained.state_dict()}, tmp_path / "x.pt")
    tensors = trained.state_dict()

    network, name = stored_network(open_checkpoint(tmp_path / "x.pt").metadata, tensors, tmp_path / "x.pt")

    assert str(name) == f"{library}:efficientnet_b0?num_classes=5"
    assert network.state_dict().keys() == tensors.keys()


@pytest.mark.slow
def test_safetensors_hold_the_architecture_as_text(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    trained = NetworkName.parse(TIMM).build()
    facts = {"architecture": "timm:test_efficientnet", "num_classes": "3", "class_names": json.dumps(["a", "b", "c"])}
    save_file(trained.state_dict(), tmp_path / "x.safetensors", metadata=facts)

    checkpoint = open_checkpoint(tmp_path / "x.safetensors")

    assert [str(name) for name in stored_networks(checkpoint.metadata)] == [TIMM]
