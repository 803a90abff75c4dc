"""What the contract suites of targets and engines share: one captured network, exported once to every target."""

import json
import os
from pathlib import Path

import pytest
from filelock import FileLock

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
    """The export cache that `outcomes` filled; processes of one test run share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "contract-exports"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def outcomes(program: Path, cache: Path) -> dict[str, ExportOutcome]:
    """One outcome for each target there is, by the target's name; the first process that asks builds them."""
    heard: list[tuple[str, str]] = []
    with FileLock(f"{cache}.lock"):
        found = export_all(
            requests(program, *ALL),
            cache=cache,
            run=run_in_child,
            on_event=lambda name, state: heard.append((name, state)),
        )
        events = cache / "events.json"
        if not events.is_file():
            events.write_text(json.dumps(heard))
    return {outcome.target.name: outcome for outcome in found}


@pytest.fixture(scope="session")
def export_events(outcomes: dict[str, ExportOutcome], cache: Path) -> list[tuple[str, str]]:
    """What was heard while the targets were built."""
    return [(name, state) for name, state in json.loads((cache / "events.json").read_text())]
