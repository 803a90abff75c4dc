"""The digits recipe learns real scans, and its parts never overlap."""

from pathlib import Path

import numpy as np
import pytest

from wherry.train.evaluate import evaluate
from wherry.train.recipes import recipe_named
from wherry.train.run import RoundData, train
from wherry.train.snapshot import identities
from wherry.train.state import read_state

pytestmark = pytest.mark.slow
pytest.importorskip("torch")
pytest.importorskip("sklearn")


def test_the_parts_are_disjoint_stratified_and_always_the_same() -> None:
    from wherry.train.recipes import digits

    data, again = digits.load(), digits.load()
    parts = (data.first, data.later, data.held_out)

    assert [len(part) for part in parts] == [1000, 100, 697]
    seen = [{image for image, _ in identities(part)} for part in parts]
    assert len(seen[0] | seen[1] | seen[2]) == sum(map(len, seen))
    for part in parts:
        shares = np.bincount(part.labels, minlength=10) / len(part)
        assert np.abs(shares - 0.1).max() < 0.02
    assert identities(again.first) == identities(data.first)
    assert data.first.images.max() == 16


def test_both_rounds_reach_97_percent_on_scans_they_have_not_seen(tmp_path: Path) -> None:
    from wherry.train.recipes import digits

    recipe, data = recipe_named("digits"), digits.load()

    first = train(recipe, RoundData(examples=data.first, held_out=data.held_out), out=tmp_path / "v1")
    everything = RoundData(examples=data.first.joined(data.later), held_out=data.held_out, previous=first.snapshot)
    second = train(recipe, everything, out=tmp_path / "v2", start_from=first.checkpoint)

    network = digits.DigitsNet()
    network.load_state_dict(read_state(second.checkpoint)[0]["state_dict"])
    found = evaluate(lambda images: digits.predict(network, images), data.held_out, digits.spec())
    assert (first.epochs, second.epochs) == (12, 6)
    assert (second.delta.total, second.delta.new, second.delta.removed) == (1100, 100, 0)
    assert first.accuracy is not None
    assert min(first.accuracy, found["accuracy"]) >= 0.97
    assert found["accuracy"] == pytest.approx(second.accuracy)
    assert found["loss"] < 0.15
    assert network.training
