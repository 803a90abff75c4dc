"""Trains both networks for a few minutes and leaves in runs/ what `wherry register` takes."""

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
IMAGES = 2400
BATCH = {"unet-resnet34": 16, "deeplabv3plus-resnet50": 8}
EPOCHS = {"unet-resnet34": 1, "deeplabv3plus-resnet50": 2}  # the deeper network learns more slowly
NETWORKS = {"unet-resnet34": network.unet_resnet34, "deeplabv3plus-resnet50": network.deeplabv3plus_resnet50}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def spec() -> ModelSpec:
    """Return what both networks take and give."""
    size = (data.SIDE, data.SIDE)
    return ModelSpec(
        task="segmentation",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 3, *size), meaning="RGB image"),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", network.CLASSES, *size)),),
        preprocessing=Preprocessing(kind="image", size=size, scale=1 / 255, mean=MEAN, std=STD),
        postprocessing="softmax",
        class_names=data.CLASSES,
    )


def train(net: nn.Module, shelves: data.Shelves, batch: int, epochs: int) -> float:
    """Train on each picture once an epoch, with AdamW and one cycle of the learning rate; return the last loss."""
    images = normalised(shelves)
    labels = torch.from_numpy(shelves.labels).long()
    batches = [picked for _ in range(epochs) for picked in torch.randperm(len(images)).split(batch)]
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=len(batches), pct_start=0.2)
    net.train()
    last = 0.0
    for step, picked in enumerate(batches):
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(images[picked])
        loss = nn.functional.cross_entropy(logits.float(), labels[picked])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        last = loss.item()
        if step % 20 == 0:
            print(f"step {step} of {len(batches)}: loss {last:.3f}", flush=True)
    return last


def normalised(shelves: data.Shelves) -> torch.Tensor:
    """Return the network's input, as the spec's preprocessing makes it."""
    images = torch.from_numpy(shelves.images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std


def main() -> None:
    """Train what was asked for, one network after the other."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--network", choices=list(NETWORKS), action="append")
    options.add_argument("--out", type=Path, default=Path("runs"))
    options.add_argument("--quick", action="store_true", help="a few steps, to see that everything fits together")
    asked = options.parse_args()
    shelves = data.make(32 if asked.quick else IMAGES, seed=1)
    held_out = data.make(16 if asked.quick else 200, seed=2)
    evaluation = Examples(raw=held_out.images, labels=held_out.labels)
    for name in asked.network or NETWORKS:
        torch.manual_seed(SEED)
        net = NETWORKS[name]()
        started = time.monotonic()
        loss = train(net, shelves, BATCH[name], 1 if asked.quick else EPOCHS[name])
        seconds = time.monotonic() - started
        numbers = score(net, spec(), evaluation)
        lineage = Lineage(
            timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
            training_images=len(shelves.images),
            new_images=len(shelves.images),
            total_epochs=1 if asked.quick else EPOCHS[name],
            loss=loss,
            training_time_hours=seconds / 3600,
            base_model=name,
            facts={**numbers, "batch": BATCH[name], "seed": SEED},
        )
        examples = {
            "golden": Examples(raw=held_out.images[:50], labels=held_out.labels[:50]),
            "evaluation": evaluation,
            "calibration": Examples(raw=shelves.images[:200]),
        }
        hand_in(asked.out / name, net, spec(), lineage, examples)
        print(f"{name}: {seconds:.0f} s", numbers)


if __name__ == "__main__":
    main()
