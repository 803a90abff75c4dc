"""What the contract suites of targets and engines share: one captured network, exported once to every target."""

from pathlib import Path

import pytest

from tests.contracts.small_program import ALL, capture, requests
from wherry.export.request import ExportOutcome
from wherry.export.run import export_all
from wherry.jobs.child import run_in_child


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as a `.pt2` file."""
    return capture(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export cache that `outcomes` filled."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def export_events() -> list[tuple[str, str]]:
    """What `outcomes` heard while it exported."""
    return []


@pytest.fixture(scope="session")
def outcomes(program: Path, cache: Path, export_events: list[tuple[str, str]]) -> dict[str, ExportOutcome]:
    """One outcome for each target there is, by the target's name."""
    found = export_all(
        requests(program, *ALL),
        cache=cache,
        run=run_in_child,
        on_event=lambda name, state: export_events.append((name, state)),
    )
    return {outcome.target.name: outcome for outcome in found}
