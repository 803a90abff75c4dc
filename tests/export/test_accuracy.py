"""The search of accuracy control, on networks that are only numbers."""

import pytest

from wherry.export.accuracy import AccuracyGoal, control


class Network:
    """Layers with the damage that eight bits do to each; building and measuring take a second each."""

    def __init__(self, damage: dict[str, float], reference: float = 0.9):
        self.damage = damage
        self.reference = reference
        self.built: list[tuple[str, ...]] = []
        self.now = 0.0
        self.ranked = False

    def build(self, excluded):
        self.now += 1
        self.built.append(tuple(excluded))
        return frozenset(excluded)

    def measure(self, file):
        self.now += 1
        return self.reference - sum(damage for name, damage in self.damage.items() if name not in file)

    def rank(self):
        self.ranked = True
        return sorted(self.damage, key=lambda name: -self.damage[name])

    def control(self, max_drop=0.01, time_budget_s=600.0):
        goal = AccuracyGoal(evaluation="", sha256="", max_drop=max_drop, time_budget_s=time_budget_s)
        return control(self.build, self.measure, self.rank, reference=self.reference, goal=goal, clock=lambda: self.now)


def test_nothing_is_ranked_when_eight_bits_are_good_enough():
    network = Network({"a": 0.004, "b": 0.006})
    found = network.control()
    assert (found.met, found.left_in_float, network.ranked, len(network.built)) == (True, (), False, 1)
    assert found.metric == found.metric_before == pytest.approx(0.89)


def test_one_bad_layer_is_found_and_returned():
    network = Network({f"layer{i}": 0.0001 for i in range(50)} | {"bad": 0.3})
    found = network.control()
    assert found.left_in_float == ("bad",)
    assert found.met
    assert found.metric_before == pytest.approx(0.595)
    assert found.metric == pytest.approx(0.895)
    assert [trial.left_in_float for trial in found.trials] == [0, 1]


@pytest.mark.parametrize("bad", [2, 3, 5, 11, 30])
def test_the_smallest_number_is_found_in_few_trials(bad: int):
    network = Network({f"ok{i}": 0.0 for i in range(70)} | {f"bad{i}": 0.02 for i in range(bad)})
    found = network.control()
    assert set(found.left_in_float) == {f"bad{i}" for i in range(bad)}
    assert found.met
    assert len(found.trials) <= 12


def test_what_cannot_be_met_is_said_and_one_layer_stays_in_eight_bits():
    network = Network({f"layer{i}": 0.1 for i in range(6)})
    found = network.control()
    assert not found.met
    assert not found.out_of_time
    assert len(found.left_in_float) == 5
    assert found.metric == pytest.approx(0.8)


def test_the_time_budget_ends_the_search_with_the_best_so_far():
    network = Network({f"layer{i:03}": 0.001 for i in range(200)})
    found = network.control(time_budget_s=7.0)
    assert found.out_of_time
    assert not found.met
    assert [trial.left_in_float for trial in found.trials] == [0, 1, 2, 4]
    assert len(found.left_in_float) == 4


def test_a_drop_of_exactly_what_is_allowed_is_allowed():
    assert Network({"a": 0.1}, reference=0.3).control(max_drop=0.1).met


def test_a_single_layer_stays_as_it_is():
    found = Network({"only": 0.5}).control()
    assert (found.met, found.left_in_float) == (False, ())
