"""Looking at a device: what is live, and whether every byte and every number of it is still right."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from wherry.agent.config import DeviceConfig, read_config
from wherry.agent.gate import prove_here
from wherry.agent.journal import Journal
from wherry.agent.layout import Layout
from wherry.agent.lock import device_lock
from wherry.agent.machine import Machine
from wherry.agent.pointer import Pointer, read_pointer
from wherry.agent.publish import config_name, describe, model_path, published_names
from wherry.agent.records import DeviceStatus, InstallReport, Recovery, VerifyReport
from wherry.agent.recovery import start
from wherry.agent.refusals import Refusals
from wherry.agent.states import State
from wherry.agent.transaction import read_transaction
from wherry.bundle.release import Release, open_release
from wherry.bundle.unpack import is_intact
from wherry.core.codec import from_json, to_json
from wherry.core.digest import FileRef
from wherry.core.errors import BusyError, DocumentError, NotFoundError, StorageError, WherryError
from wherry.core.report import Report


def status(root: Path) -> DeviceStatus:
    """Return what is live and in what state. Puts right what a crash left behind, if nobody else is at work.

    Works on a device whose disk is full or read-only too, and says so among `problems`.

    Raises:
        NotFoundError: the folder is not a device.
        DocumentError: its settings cannot be understood.
    """
    layout = Layout(root)
    config = read_config(layout)
    recovery: Recovery | None = None
    busy, problems = False, []
    try:
        with device_lock(layout.lock):
            recovery = start(layout, config)[1]
    except BusyError:
        busy = True
    except StorageError as error:
        problems.append(error.message)
    return _look(layout, config, recovery, busy=busy, problems=problems)


def verify(root: Path) -> VerifyReport:
    """Read every byte of the live release and of what is published, check the journal, and run the proof once more.

    Raises:
        NotFoundError: the folder is not a device, or nothing is installed.
        BusyError: another wherry is at work on it.
        StorageError: the disk cannot be read.
    """
    layout = Layout(root)
    config = read_config(layout)
    with device_lock(layout.lock):
        machine, _ = start(layout, config)
        live = machine.pointer().current
        if live is None:
            msg = f"Nothing is installed on {root}."
            raise NotFoundError(msg, next_step="Install a bundle with `wherry device install`.")
        found = _verify(machine, live)
        machine.journal.note(
            "verified" if found.passed else "damaged", release=live, why=found.message, problems=found.problems
        )
    return found


def _look(
    layout: Layout, config: DeviceConfig, recovery: Recovery | None, *, busy: bool, problems: list[str]
) -> DeviceStatus:
    pointer = read_pointer(layout) or Pointer()
    transaction = read_transaction(layout)
    if recovery is not None:
        problems += recovery.problems
    release = _open(layout, config, pointer.current, problems)
    refused = {key: one for key, one in Refusals(layout.refusals).all().items() if one.reason}
    seen = DeviceStatus(
        root=str(layout.root),
        product=config.product,
        state=transaction.state if transaction else State.IDLE,
        live=pointer.current,
        previous=pointer.previous,
        trial=pointer.trial,
        busy=busy,
        refused=refused,
        problems=tuple(problems),
        recovery=recovery,
        last_install=_last_install(layout),
    )
    return seen if release is None else _with_release(seen, layout, release)


def _with_release(seen: DeviceStatus, layout: Layout, release: Release) -> DeviceStatus:
    return replace(
        seen,
        version=release.manifest.version,
        semantic_version=release.manifest.semantic_version,
        number=release.manifest.release,
        target=release.entry.variant.name,
        engine=release.entry.variant.engine,
        device=release.device,
        model_file=str(model_path(layout, seen.product, release)),
    )


def _open(layout: Layout, config: DeviceConfig, name: str | None, problems: list[str]) -> Release | None:
    if name is None:
        return None
    try:
        return open_release(layout.releases / config.product / name)
    except WherryError as error:
        problems.append(error.message)
        return None


def _last_install(layout: Layout) -> InstallReport | None:
    with suppress(OSError, DocumentError):
        return from_json(layout.last_install.read_bytes(), InstallReport, what=str(layout.last_install))
    return None


def _verify(machine: Machine, live: str) -> VerifyReport:
    problems = Journal(machine.layout.journal).problems()
    report: Report | None = None
    files: tuple[FileRef, ...] = ()
    try:
        release = open_release(machine.folder(live), verify_bytes=True)
    except WherryError as error:
        problems.append(error.message)
    else:
        files = (*release.entry.variant.files, release.manifest.golden)
        problems += _view_problems(machine.layout, machine.config.product, release)
        report = _prove_again(release, machine.config, problems)
    size = sum(file.size for file in files)
    if problems:
        message = f"{live} is not as it was installed: {problems[0]}"
    else:
        message = f"{live} is whole: {len(files)} files, {size} bytes, and its proof passes here."
    return VerifyReport(
        passed=not problems,
        message=message,
        live=live,
        files=len(files),
        bytes=size,
        problems=tuple(problems),
        report=report,
    )


def _view_problems(layout: Layout, product: str, release: Release) -> list[str]:
    names = published_names(product, release.entry.variant)
    found = [
        f"{layout.models / names[file.path]} is not what was installed."
        for file in release.entry.variant.files
        if not is_intact(layout.models / names[file.path], file)
    ]
    config = layout.models / config_name(product)
    if not config.is_file() or config.read_bytes() != to_json(describe(product, release)):
        found.append(f"{config} is not what was installed.")
    return found


def _prove_again(release: Release, config: DeviceConfig, problems: list[str]) -> Report | None:
    try:
        report = prove_here(release, config)
    except WherryError as error:
        problems.append(error.message)
        return None
    problems += report.reasons
    return report
