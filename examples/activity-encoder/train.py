"""Trains the auto-encoder for a minute and leaves in runs/ what `wherry register` takes."""

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
BATCH = 64
WINDOWS = 6000
KL_WEIGHT = 2e-3


def spec(windows: data.Windows) -> ModelSpec:
    """Return what the encoder takes and gives; the z-score of the training windows is its preprocessing."""
    mean, std = windows.raw.mean(axis=(0, 1)), windows.raw.std(axis=(0, 1))
    shape = ("batch", network.STEPS, network.CHANNELS)
    return ModelSpec(
        task="embedding",
        inputs=(TensorSpec(name="window", dtype="float32", shape=shape, meaning="normalised IMU window"),),
        outputs=(TensorSpec(name="embedding", dtype="float32", shape=("batch", network.EMBEDDING)),),
        preprocessing=Preprocessing(
            kind="tensor",
            layout="NHWC",
            mean=tuple(round(float(value), 6) for value in mean),
            std=tuple(round(float(value), 6) for value in std),
        ),
        class_names=data.ACTIVITIES,
    )


def train(net: nn.Module, windows: torch.Tensor, epochs: int) -> dict[str, float]:
    """Train with AdamW and one cycle of the learning rate; return the last epoch's losses."""
    batches = -(-len(windows) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=batches * epochs)
    net.train()
    losses = {"reconstruction": 0.0, "divergence": 0.0}
    for epoch in range(epochs):
        losses = dict.fromkeys(losses, 0.0)
        for picked in torch.randperm(len(windows)).split(BATCH):
            window = windows[picked]
            made, embedding, spread = net(window)
            error = nn.functional.mse_loss(made, window)
            divergence = 0.5 * (embedding**2 + spread.exp() - 1 - spread).mean()
            optimizer.zero_grad()
            torch.autograd.backward(error + KL_WEIGHT * divergence)
            optimizer.step()
            schedule.step()
            losses["reconstruction"] += error.item() / batches
            losses["divergence"] += divergence.item() / batches
        print(f"epoch {epoch + 1} of {epochs}: {losses}", flush=True)
    return losses


def main() -> None:
    """Train the auto-encoder."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("runs"))
    options.add_argument("--quick", action="store_true", help="a few steps, to see that everything fits together")
    asked = options.parse_args()
    torch.manual_seed(SEED)
    windows = data.make(2 * BATCH if asked.quick else WINDOWS, seed=1)
    held_out = data.make(64 if asked.quick else 800, seed=2)
    calibration = data.make(100 if asked.quick else 2000, seed=3)
    evaluation = Examples(raw=held_out.raw, labels=held_out.labels)
    described = spec(windows)
    mean, std = (torch.tensor(it) for it in (described.preprocessing.mean, described.preprocessing.std))
    epochs = 1 if asked.quick else 10
    net = network.tcn_vae()
    started = time.monotonic()
    losses = train(net, (torch.from_numpy(windows.raw) - mean) / std, epochs)
    seconds = time.monotonic() - started
    numbers = score(net.encoder, described, evaluation)
    lineage = Lineage(
        timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
        training_images=len(windows.raw),
        new_images=len(windows.raw),
        total_epochs=epochs,
        loss=sum(losses.values()),
        training_time_hours=seconds / 3600,
        base_model="tcn-vae",
        facts={**numbers, **losses, "batch": BATCH, "seed": SEED},
    )
    examples = {
        "golden": Examples(raw=held_out.raw[:100], labels=held_out.labels[:100]),
        "evaluation": evaluation,
        "calibration": Examples(raw=calibration.raw, labels=calibration.labels),
    }
    hand_in(asked.out / "tcn-vae", net, described, lineage, examples)
    print(f"tcn-vae: {seconds:.0f} s", numbers)


if __name__ == "__main__":
    main()
