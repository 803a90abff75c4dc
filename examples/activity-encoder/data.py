"""Windows of a simulated IMU: accelerometer, gyroscope and magnetometer, 100 samples at 50 Hz.

Steps are sums of harmonics (their frequencies and strengths after Zijlstra and Hof 2003, walking about 2 Hz, running
about 2.8 Hz) on top of gravity, sensor noise and the way the device is worn; equal seeds give equal windows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ACTIVITIES = ("stationary", "walking", "running", "mixed")
STEPS, CHANNELS, RATE = 100, 9, 50.0
GRAVITY = 9.81


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Raw windows in m/s2, rad/s and units of the earth's field, with what the wearer did."""

    raw: NDArray[np.float32]
    """[windows, 100, 9]."""
    labels: NDArray[np.int64]


def make(count: int, seed: int) -> Windows:
    """Return `count` windows, each activity equally often."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(ACTIVITIES)
    random.shuffle(labels)
    raw = np.stack([_window(random, ACTIVITIES[label]) for label in labels])
    return Windows(raw=raw.astype(np.float32), labels=labels.astype(np.int64))


def _window(random: np.random.Generator, activity: str) -> NDArray[np.float64]:
    time = np.arange(STEPS) / RATE
    worn = _rotation(random)
    motion = np.zeros((STEPS, 6))
    if activity == "mixed":
        change = int(random.integers(30, 70))
        first, second = (_gait(random, time, kind) for kind in random.permutation(["walking", "running"]))
        motion[:change], motion[change:] = first[:change], second[change:]
    elif activity != "stationary":
        motion = _gait(random, time, activity)
    accelerometer = (motion[:, :3] + (0, 0, GRAVITY)) @ worn
    gyroscope = motion[:, 3:] @ worn
    heading = np.cumsum(gyroscope, axis=0) / RATE * 0.2
    magnetometer = np.array([0.5, 0.0, -0.85]) @ worn + heading
    window = np.concatenate([accelerometer, gyroscope, magnetometer], axis=1)
    return window + random.normal(0, 1, window.shape) * np.repeat([0.15, 0.05, 0.02], 3)


def _gait(random: np.random.Generator, time: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return acceleration and turning of a walk or a run, three harmonics on each axis."""
    steps_per_second = random.normal(1.9, 0.15) if kind == "walking" else random.normal(2.8, 0.2)
    strength = random.normal(2.2, 0.35) if kind == "walking" else random.normal(6.5, 1.0)
    phase = random.uniform(0, 2 * np.pi)
    signal = np.zeros((len(time), 6))
    for harmonic, share in ((0.5, 0.35), (1.0, 1.0), (2.0, 0.4)):
        angle = 2 * np.pi * steps_per_second * harmonic * time[:, None] + phase + random.normal(0, 0.4, 6)
        signal += share * np.sin(angle) * (0.4, 0.5, 1.0, 0.15, 0.3, 0.1)
    return signal * strength


def _rotation(random: np.random.Generator) -> NDArray[np.float64]:
    """Return how the device is worn: a small turn around each axis."""
    x, y, z = random.normal(0, 0.2, 3)
    around_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    around_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    around_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return around_x @ around_y @ around_z
