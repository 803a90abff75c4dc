"""A real engine for tests: logits = flat(input) @ weights, from an .npz file; it can be told to misbehave."""

import json
import os
from pathlib import Path

import numpy as np

from wherry.runtime.interface import Engine, Tensors


class LinearEngine(Engine):
    name = "linear"

    def _load(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.weights = file["weights"]
            self.behaviour = json.loads(str(file["behaviour"])) if "behaviour" in file.files else ""

    def _infer(self, inputs: Tensors) -> Tensors:
        if self.behaviour == "crash":
            msg = "the accelerator caught fire\nand more lines"
            raise RuntimeError(msg)
        if self.behaviour == "die":
            os._exit(9)
        x = inputs["image"].reshape(len(inputs["image"]), -1)
        logits = (x @ self.weights).astype(np.float32)
        if self.behaviour == "constant":
            logits[:] = 1.0
        if self.behaviour == "nan":
            logits[0, 0] = np.nan
        if self.behaviour == "wide":
            logits = np.concatenate([logits, logits], axis=1)
        return {"logits": logits}


def write_linear(path: Path, weights: np.ndarray, behaviour: str = "") -> Path:
    np.savez(path, weights=weights.astype(np.float32), behaviour=json.dumps(behaviour))
    return path
