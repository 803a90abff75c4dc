"""Trains both classifiers for a few minutes and leaves in runs/ what `wherry register` takes."""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

import data
import network
import torch
from torch import nn

from wherry.core.model import Lineage, ModelSpec, Preprocessing, TensorSpec
from wherry.proof.record import Examples
from wherry.train.handing_in import hand_in, score

SEED = 7
BATCH = 16
EPOCHS = {"efficientnet-b0": 4, "resnet50": 2}
IMAGES = 4000
NETWORKS = {"efficientnet-b0": network.efficientnet_b0, "resnet50": network.resnet50}
HALVES = ("resnet50",)  # bfloat16 doubles the speed of wide convolutions, and slows depthwise ones
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what both networks are usually trained with


def spec() -> ModelSpec:
    """Return what both networks take and give."""
    return ModelSpec(
        task="classification",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 3, data.SIDE, data.SIDE), meaning="RGB image"),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", network.CLASSES), meaning="logits"),),
        preprocessing=Preprocessing(kind="image", size=(data.SIDE, data.SIDE), scale=1 / 255, mean=MEAN, std=STD),
        postprocessing="softmax",
        class_names=data.CLASSES,
    )


def train(net: nn.Module, crops: data.Crops, epochs: int, *, half: bool) -> float:
    """Train with AdamW and one cycle of the learning rate; return the mean loss of the last epoch."""
    images = normalised(crops)
    labels = torch.from_numpy(crops.labels)
    steps = -(-len(images) // BATCH) * epochs
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.2)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    net.to(memory_format=torch.channels_last).train()
    total = 0.0
    for epoch in range(epochs):
        total = 0.0
        batches = torch.randperm(len(images)).split(BATCH)
        for picked in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = loss_of(net(images[picked]), labels[picked])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item() / len(batches)
        print(f"epoch {epoch + 1} of {epochs}: loss {total:.3f}", flush=True)
    net.to(memory_format=torch.contiguous_format)
    return total


def normalised(crops: data.Crops) -> torch.Tensor:
    """Return the network's input, as the spec's preprocessing makes it."""
    images = torch.from_numpy(crops.images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Train what was asked for, one network after the other."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--network", choices=list(NETWORKS), action="append")
    options.add_argument("--out", type=Path, default=Path("runs"))
    options.add_argument("--quick", action="store_true", help="a few steps, to see that everything fits together")
    asked = options.parse_args()
    crops = data.make(4 * BATCH if asked.quick else IMAGES, seed=1, held_out=False)
    held_out = data.make(40 if asked.quick else 600, seed=2, held_out=True)
    calibration = data.make(200, seed=3, held_out=False)
    evaluation = Examples(raw=held_out.images, labels=held_out.labels)
    for name in asked.network or NETWORKS:
        epochs = 1 if asked.quick else EPOCHS[name]
        torch.manual_seed(SEED)
        net = NETWORKS[name]()
        started = time.monotonic()
        loss = train(net, crops, epochs, half=name in HALVES)
        seconds = time.monotonic() - started
        numbers = score(net, spec(), evaluation)
        lineage = Lineage(
            timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
            training_images=len(crops.images),
            new_images=len(crops.images),
            total_epochs=epochs,
            best_accuracy=numbers["accuracy"],
            loss=loss,
            training_time_hours=seconds / 3600,
            base_model=name,
            facts={**numbers, "batch": BATCH, "seed": SEED},
        )
        examples = {
            "golden": Examples(raw=held_out.images[:100], labels=held_out.labels[:100]),
            "evaluation": evaluation,
            "calibration": Examples(raw=calibration.images, labels=calibration.labels),
        }
        hand_in(asked.out / name, net, spec(), lineage, examples)
        print(f"{name}: {seconds:.0f} s", numbers)


if __name__ == "__main__":
    main()
