"""A run keeps its promises: epochs by strategy, counts by content, and the same end after any interruption."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from wherry.core.errors import BadInputError, CheckpointError, NotFoundError, StorageError
from wherry.train.examples import Examples
from wherry.train.lineage import lineage
from wherry.train.recipe import Recipe
from wherry.train.recipes import RECIPES, recipe_named
from wherry.train.run import LAST, RESULT, EpochRecord, RoundData, TrainResult, train
from wherry.train.snapshot import snapshot
from wherry.train.state import read_state, write_state

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")
NAMES = tuple(str(number) for number in range(10))


def noise(count: int, seed: int = 0) -> Examples:
    random = np.random.default_rng(seed)
    images = random.integers(0, 17, (count, 8, 8), dtype=np.uint8)
    return Examples(images=images, labels=random.integers(0, 10, count), class_names=NAMES)


@pytest.fixture(params=sorted(RECIPES))
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return replace(recipe_named(request.param), epochs=4)


class InterruptedRunError(Exception):
    """Stands for anything that ends a process between two epochs."""


def interrupt_after(number: int) -> "object":
    def stop(record: EpochRecord) -> None:
        if record.number == number:
            raise InterruptedRunError

    return stop


def weights(result: TrainResult) -> dict[str, "torch.Tensor"]:
    return read_state(result.checkpoint)[0]["state_dict"]


def test_every_recipe_trains_the_network_it_builds_and_says_so(recipe: Recipe, tmp_path: Path) -> None:
    data = RoundData(examples=noise(40), held_out=noise(20, 1))
    told: list[EpochRecord] = []

    result = train(recipe, data, out=tmp_path / "run", on_epoch=told.append)

    network = recipe.build()
    network.load_state_dict(weights(result), strict=True)
    spec = recipe.spec()
    image = torch.zeros(3, *[int(axis) for axis in spec.inputs[0].shape[1:]])
    assert network.eval()(image).shape == (3, *spec.outputs[0].shape[1:])
    assert tuple(told) == result.history
    assert [record.number for record in told] == [1, 2, 3, 4]
    assert result.epochs == 4
    assert result.loss == told[-1].loss
    assert result.accuracy == told[-1].accuracy
    assert result.best_accuracy == max(record.accuracy for record in told if record.accuracy is not None)
    assert result.seconds == pytest.approx(sum(record.seconds for record in told))
    state = read_state(result.checkpoint)[0]
    assert state["architecture"] == {"recipe": recipe.name, **recipe.architecture}
    assert state["metadata"]["dataset"] == result.snapshot.digest
    assert not (tmp_path / "run" / LAST).exists()


def test_equal_seeds_give_equal_files_and_other_seeds_do_not(tmp_path: Path) -> None:
    recipe = replace(recipe_named("digits"), epochs=2)
    data = RoundData(examples=noise(70))
    runs = [train(recipe, data, out=tmp_path / str(index), seed=seed) for index, seed in enumerate((5, 5, 6))]

    assert runs[0].checkpoint.read_bytes() == runs[1].checkpoint.read_bytes()
    assert runs[0].sha256 != runs[2].sha256
    assert runs[0].accuracy is runs[0].best_accuracy is None


@pytest.mark.parametrize("stops", [(1,), (3,), (1, 2, 3)])
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    recipe: Recipe, stops: tuple[int, ...], tmp_path: Path
) -> None:
    data = RoundData(examples=noise(70), held_out=noise(20, 1))
    base = train(recipe, RoundData(examples=noise(30, 2)), out=tmp_path / "base", epochs=1).checkpoint
    whole = train(recipe, data, out=tmp_path / "whole", start_from=base, epochs=4, seed=3)

    out = tmp_path / "broken"
    with pytest.raises(InterruptedRunError):
        train(recipe, data, out=out, start_from=base, epochs=4, seed=3, on_epoch=interrupt_after(stops[0]))
    base.unlink()
    for stop in stops[1:]:
        with pytest.raises(InterruptedRunError):
            train(recipe, data, out=out, strategy="resume", on_epoch=interrupt_after(stop))
    resumed = train(recipe, data, out=out, strategy="resume")

    assert resumed.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert [(it.loss, it.accuracy) for it in resumed.history] == [(it.loss, it.accuracy) for it in whole.history]
    assert (resumed.resumed, resumed.strategy, resumed.base) == (len(stops), "full_retrain", whole.base)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    recipe, data = recipe_named("null"), RoundData(examples=noise(10))
    first = train(recipe, data, out=tmp_path)

    again = train(recipe, data, out=tmp_path, strategy="resume", on_epoch=interrupt_after(1))

    assert again == first


def test_a_run_interrupted_before_its_first_epoch_still_starts_from_its_weights(tmp_path: Path) -> None:
    recipe, data = recipe_named("null"), RoundData(examples=noise(50))
    base = train(recipe, data, out=tmp_path / "base").checkpoint

    def stops(job: object) -> object:
        raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        train(replace(recipe, run=stops), data, out=tmp_path / "run", start_from=base)
    resumed = train(recipe, data, out=tmp_path / "run", strategy="resume")
    whole = train(recipe, data, out=tmp_path / "whole", start_from=base)

    assert resumed.sha256 == whole.sha256


def test_full_retraining_sees_everything_in_half_the_epochs_and_the_lineage_is_counted(tmp_path: Path) -> None:
    recipe, old, new = recipe_named("null"), noise(30), noise(10, 1)
    first = train(recipe, RoundData(examples=old), out=tmp_path / "v1")
    data = RoundData(examples=old.joined(new), held_out=noise(9, 2), previous=first.snapshot)

    second = train(recipe, data, out=tmp_path / "v2", start_from=first.checkpoint)
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    found = lineage(
        second, base_model="digits@v1", previous_version="digits@v1", notes="n", facts={"num_games": 7}, timestamp=when
    )

    assert (first.epochs, second.epochs) == (4, 2)
    assert second.base == first.sha256
    assert (found.training_images, found.new_images, found.removed_images) == (40, 10, 0)
    assert (found.total_epochs, found.best_accuracy, found.loss) == (2, second.best_accuracy, second.loss)
    assert found.training_time_hours == pytest.approx(second.seconds / 3600)
    assert found.timestamp == "2026-01-02T03:04:05+00:00"
    assert (found.training_strategy, found.base_model, found.previous_version) == (
        "full_retrain",
        "digits@v1",
        "digits@v1",
    )
    assert found.dataset == snapshot(data.examples).digest
    assert found.config_snapshot["seed"] == 0
    assert found.config_snapshot["tools"]["torch"]
    assert len(found.config_snapshot["code_sha256"]) == 64
    assert (found.facts["num_games"], found.facts["accuracy"], found.facts["resumed"]) == (7, second.accuracy, 0)
    assert lineage(first).timestamp > "2026"


def test_fine_tuning_sees_only_what_is_new_and_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe, old, new = replace(recipe_named("null"), epochs=10), noise(30), noise(10, 1)
    first = train(recipe, RoundData(examples=old), out=tmp_path / "v1")
    data = RoundData(examples=old.joined(new), previous=first.snapshot)

    tuned = train(recipe, data, out=tmp_path / "v2", strategy="fine_tune", start_from=first.checkpoint)

    assert (tuned.epochs, tuned.trained_on, tuned.snapshot.total, tuned.delta.new) == (3, 10, 40, 10)
    assert "10 new examples only" in tuned.warnings[0]
    assert tuned.warnings[0] in caplog.text
    assert lineage(tuned).training_strategy == "fine_tune"
    assert lineage(tuned).training_images == 10
    assert lineage(tuned).facts["warnings"] == list(tuned.warnings)


def test_choices_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    recipe, data = recipe_named("null"), RoundData(examples=noise(10))
    done = train(recipe, data, out=tmp_path / "done")
    same = RoundData(examples=data.examples, previous=done.snapshot)
    new = tmp_path / "new"
    cases = [
        (data, {"strategy": "fine_tune"}, "needs weights to start from"),
        (same, {"strategy": "fine_tune", "start_from": done.checkpoint}, "nothing new"),
        (RoundData(examples=data.examples.where(np.zeros(10, bool))), {}, "no examples"),
        (data, {"epochs": 0}, "0 epochs"),
        (data, {"strategy": "guess"}, "no training strategy"),
        (data, {"strategy": "resume"}, "no run to resume"),
        (data, {"strategy": "resume", "out": tmp_path / "done", "epochs": 9}, "keeps its epochs"),
        (data, {"out": tmp_path / "done"}, "finished run"),
        (RoundData(examples=noise(10, 9)), {"strategy": "resume", "out": tmp_path / "done"}, "another data set"),
        (same, {"strategy": "resume", "out": tmp_path / "done"}, "another previous data set"),
    ]
    for given, choices, reason in cases:
        with pytest.raises(BadInputError, match=reason):
            train(recipe, given, **{"out": new} | choices)
    with pytest.raises(BadInputError, match="another recipe"):
        train(replace(recipe, name="other"), data, out=tmp_path / "done", strategy="resume")
    assert not new.exists()
    with pytest.raises(NotFoundError, match="no recipe"):
        recipe_named("cake")


def test_weights_that_cannot_be_started_from_are_refused(tmp_path: Path) -> None:
    recipe, data = recipe_named("digits"), RoundData(examples=noise(10))
    other = tmp_path / "other.pt"
    write_state(other, {"state_dict": {"wrong": torch.zeros(2)}})
    noise_file = tmp_path / "noise.pt"
    noise_file.write_bytes(b"not weights")
    number = tmp_path / "number.pt"
    torch.save(3, number)
    empty = tmp_path / "empty.pt"
    write_state(empty, {"epoch": 3})

    for path, reason in (
        (other, "do not fit"),
        (noise_file, "cannot be opened"),
        (number, "no weights"),
        (empty, "no weights"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            train(recipe, data, out=tmp_path / path.stem, start_from=path)
    with pytest.raises(NotFoundError):
        train(recipe, data, out=tmp_path / "x", start_from=tmp_path / "nothing.pt")


def test_a_damaged_state_is_said_to_be_damaged(tmp_path: Path) -> None:
    recipe, data = recipe_named("null"), RoundData(examples=noise(10))
    with pytest.raises(InterruptedRunError):
        train(recipe, data, out=tmp_path, on_epoch=interrupt_after(2))
    with pytest.raises(BadInputError, match="unfinished run"):
        train(recipe, data, out=tmp_path)

    write_state(tmp_path / LAST, {"something": 1})
    with pytest.raises(CheckpointError, match="not the state of a run"):
        train(recipe, data, out=tmp_path, strategy="resume")
    (tmp_path / LAST).write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        train(recipe, data, out=tmp_path, strategy="resume")
    assert not (tmp_path / RESULT).exists()


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StorageError):
        train(recipe_named("null"), RoundData(examples=noise(10)), out=tmp_path / "file" / "run")
