"""Trains both detectors for a few minutes and leaves in runs/ what `wherry register` takes."""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

import data
import network
import numpy as np
import torch
from torch import nn
from ultralytics.cfg import get_cfg

from wherry.core.model import DetectionSettings, Lineage, ModelSpec, Preprocessing, TensorSpec
from wherry.proof.record import Examples
from wherry.train.handing_in import hand_in, score

SEED = 7
BATCH = 16
STEPS = 500
IMAGES = 1600
NETWORKS = {"yolov8n": network.yolov8n, "yolov8n-seg": network.yolov8n_seg}


def spec(name: str) -> ModelSpec:
    """Return what the adapted network takes and gives."""
    anchors = sum((data.SIDE // stride) ** 2 for stride in (8, 16, 32))
    outputs = [("boxes", (4, anchors)), ("scores", (network.CLASSES, anchors))]
    if name.endswith("-seg"):
        outputs += [("coefficients", (32, anchors)), ("prototypes", (32, data.SIDE // 4, data.SIDE // 4))]
    return ModelSpec(
        task="detection",
        inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 3, data.SIDE, data.SIDE)),),
        outputs=tuple(TensorSpec(name=it, dtype="float32", shape=("batch", *size)) for it, size in outputs),
        preprocessing=Preprocessing(kind="image", size=(data.SIDE, data.SIDE), fit="letterbox", scale=1 / 255),
        postprocessing="nms",
        class_names=data.CLASSES,
        detection=DetectionSettings(),
    )


def train(net: nn.Module, scenes: data.Scenes, steps: int) -> float:
    """Train with the network's own loss, AdamW and one cycle of the learning rate; return the last loss."""
    net.args = get_cfg()  # gains of the loss
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.15)
    random = np.random.default_rng(SEED)
    net.train()
    last = 0.0
    for step in range(steps):
        picked = random.choice(len(scenes.images), BATCH, replace=False)
        losses, _ = net(targets(scenes, picked))
        loss = losses.sum() / BATCH
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        last = loss.item()
        if step % 50 == 0:
            print(f"step {step} of {steps}: loss {last:.2f}", flush=True)
    return last


def targets(scenes: data.Scenes, picked: np.ndarray) -> dict[str, torch.Tensor]:
    """Return a batch as the loss of ultralytics wants it: boxes as centre and size, 0 to 1, all in one list."""
    labels = torch.from_numpy(scenes.labels[picked])
    image, place = torch.nonzero(labels[..., 0] >= 0, as_tuple=True)
    corners = labels[image, place, 1:] / data.SIDE
    boxes = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1)
    return {
        "img": torch.from_numpy(scenes.images[picked]).permute(0, 3, 1, 2).float() / 255,
        "batch_idx": image.float(),
        "cls": labels[image, place, :1],
        "bboxes": boxes,
        "masks": torch.from_numpy(scenes.masks[picked, ::4, ::4]).float(),
    }


def main() -> None:
    """Train what was asked for, one network after the other."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--network", choices=list(NETWORKS), action="append")
    options.add_argument("--out", type=Path, default=Path("runs"))
    options.add_argument("--quick", action="store_true", help="a few steps, to see that everything fits together")
    asked = options.parse_args()
    scenes = data.make(64 if asked.quick else IMAGES, seed=1)
    held_out = data.make(32 if asked.quick else 300, seed=2)
    evaluation = Examples(raw=held_out.images, labels=held_out.labels)
    steps = 3 if asked.quick else STEPS
    for name in asked.network or NETWORKS:
        torch.manual_seed(SEED)
        net = NETWORKS[name]()
        started = time.monotonic()
        loss = train(net, scenes, steps)
        seconds = time.monotonic() - started
        numbers = score(network.adapt(net), spec(name), evaluation)
        lineage = Lineage(
            timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
            training_images=len(scenes.images),
            new_images=len(scenes.images),
            total_epochs=-(-steps * BATCH // len(scenes.images)),
            loss=loss,
            training_time_hours=seconds / 3600,
            base_model=f"{name}.yaml",
            facts={**numbers, "steps": steps, "batch": BATCH, "seed": SEED},
        )
        examples = {
            "golden": Examples(raw=held_out.images[:64], labels=held_out.labels[:64]),
            "evaluation": evaluation,
            "calibration": Examples(raw=scenes.images[:200]),
        }
        hand_in(asked.out / name, net, spec(name), lineage, examples)
        print(f"{name}: {seconds:.0f} s", numbers)


if __name__ == "__main__":
    main()
