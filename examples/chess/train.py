"""Trains the network for a few minutes and leaves in runs/ what `wherry register` takes."""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

import data
import network
import torch
from torch import nn

from wherry.core.model import Lineage, ModelSpec, TensorSpec
from wherry.proof.record import Examples
from wherry.train.handing_in import hand_in, score

SEED = 7
BATCH = 64
POSITIONS = 8_000


def spec() -> ModelSpec:
    """Return what the network takes and gives."""
    return ModelSpec(
        task="policy_value",
        inputs=(TensorSpec(name="board", dtype="float32", shape=("batch", network.PLANES, 8, 8), meaning="planes"),),
        outputs=(
            TensorSpec(name="policy", dtype="float32", shape=("batch", network.MOVES), meaning="policy"),
            TensorSpec(name="value", dtype="float32", shape=("batch", 1), meaning="value"),
        ),
    )


def train(net: nn.Module, positions: data.Positions, epochs: int) -> dict[str, float]:
    """Train policy and value together, AdamW and one cycle of the learning rate; return the last epoch's losses."""
    boards, moves, values = (torch.from_numpy(it) for it in (positions.boards, positions.moves, positions.values))
    steps = -(-len(boards) // BATCH) * epochs
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.15)
    net.to(memory_format=torch.channels_last).train()
    losses = {"policy_loss": 0.0, "value_loss": 0.0}
    for epoch in range(epochs):
        losses = dict.fromkeys(losses, 0.0)
        batches = torch.randperm(len(boards)).split(BATCH)
        for picked in batches:
            with torch.autocast("cpu", torch.bfloat16):
                policy, value = net(boards[picked])
            policy_loss = nn.functional.cross_entropy(policy.float(), moves[picked])
            value_loss = nn.functional.mse_loss(value[:, 0].float(), values[picked])
            optimizer.zero_grad()
            torch.autograd.backward(policy_loss + value_loss)
            optimizer.step()
            schedule.step()
            losses["policy_loss"] += policy_loss.item() / len(batches)
            losses["value_loss"] += value_loss.item() / len(batches)
        print(f"epoch {epoch + 1} of {epochs}: {losses}", flush=True)
    net.to(memory_format=torch.contiguous_format)
    return losses


def main() -> None:
    """Train the network."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("runs"))
    options.add_argument("--quick", action="store_true", help="a few steps, to see that everything fits together")
    asked = options.parse_args()
    torch.manual_seed(SEED)
    positions = data.make(2 * BATCH if asked.quick else POSITIONS, seed=1)
    held_out = data.make(64 if asked.quick else 1000, seed=2)
    calibration = data.make(400, seed=3)
    evaluation = Examples(raw=held_out.boards, labels=held_out.moves)
    epochs = 1 if asked.quick else 2
    net = network.alphazero()
    started = time.monotonic()
    losses = train(net, positions, epochs)
    seconds = time.monotonic() - started
    numbers = score(net, spec(), evaluation)
    lineage = Lineage(
        timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
        training_images=len(positions.boards),
        new_images=len(positions.boards),
        total_epochs=epochs,
        best_accuracy=numbers["move_accuracy"],
        loss=sum(losses.values()),
        training_time_hours=seconds / 3600,
        base_model="alphazero 128x6",
        facts={
            **numbers,
            **losses,
            "num_positions": len(positions.boards),
            "learning_rate": 2e-3,
            "batch": BATCH,
            "seed": SEED,
        },
    )
    examples = {
        "golden": Examples(raw=held_out.boards[:128], labels=held_out.moves[:128]),
        "evaluation": evaluation,
        "calibration": Examples(raw=calibration.boards),
    }
    hand_in(asked.out / "alphazero", net, spec(), lineage, examples)
    print(f"alphazero: {seconds:.0f} s", numbers)


if __name__ == "__main__":
    main()
