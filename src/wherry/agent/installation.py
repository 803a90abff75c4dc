"""Installing a bundle: the whole road through the table of states, as short functions in reading order."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from wherry.agent.backup import save
from wherry.agent.choose import Candidate, Ranking, choose
from wherry.agent.commit import finish
from wherry.agent.gate import pass_gate
from wherry.agent.hooks import probation
from wherry.agent.machine import Machine
from wherry.agent.pointer import Pointer, write_pointer
from wherry.agent.probe import detect
from wherry.agent.publish import publish
from wherry.agent.records import Health, HookResult, InstallReport
from wherry.agent.states import TABLE, State, Way
from wherry.agent.trust import live_release, verify_bundle
from wherry.agent.undo import Reason, check_health, discard, drop_staged, go_back, restart
from wherry.bundle.release import Release, write_release
from wherry.bundle.trust.trusted import Trusted
from wherry.bundle.unpack import fetch_blobs
from wherry.core.digest import short
from wherry.core.errors import ProofRefusedError, RefusedError, ToolchainMissingError, TrustError, WherryError
from wherry.core.manifest import Manifest
from wherry.core.report import Report, WhyNot


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """A release that lies ready and has passed its proof here."""

    release: Release
    candidate: Candidate
    report: Report
    why_nots: tuple[WhyNot, ...]


def carry_out(machine: Machine, bundle: Path, now: datetime) -> InstallReport:
    """Install `bundle` on an idle device. Whatever goes wrong, the old release or the new one is live afterwards.

    Raises:
        TrustError: the bundle is not what was signed.
        RefusedError: a proof, a policy or an earlier rollback says no.
        ToolchainMissingError: no runtime for any of its variants is installed.
        DeviceError: the device or its storage failed.
    """
    machine.enter(State.VERIFY_META)
    try:
        with verify_bundle(machine, bundle, now) as trusted:
            machine.tell("note", f"{trusted.manifest.name} is signed and valid until {trusted.expires}")
            return _install(machine, trusted)
    except BaseException as error:
        _undo(machine, error)
        raise


def _install(machine: Machine, trusted: Trusted) -> InstallReport:
    live = live_release(machine)
    same = live is not None and live.manifest_sha256 == trusted.manifest_sha256
    # Asked for what is there: worth reading every byte, as this is also how a damaged release is mended.
    if live is not None and same and live_release(machine, verify_bytes=True) is not None:
        machine.enter(State.IDLE)
        return _already_installed(machine, live, trusted.expires)
    before = machine.pointer()
    staged = _stage(machine, trusted)
    _back_up(machine, staged)
    health = _try_out(machine, staged, before)
    if not health.ok:
        return _went_back(machine, staged, health, trusted.expires)
    report = _report(machine, staged, health, trusted.expires)
    machine.enter(State.COMMIT, why=report.message)
    finish(machine, target=report.target, reason=report.why, proof=staged.report, health=health, backup=report.backup)
    return replace(report, steps=tuple(machine.steps))


def _stage(machine: Machine, trusted: Trusted) -> _Staged:
    """Fetch, stage and prove one candidate after the other until one passes."""
    manifest = trusted.manifest
    machine.enter(State.CHOOSE)
    ranking = choose(detect(), manifest)
    why_nots = list(ranking.why_nots)
    name = _folder_name(machine, trusted)
    for candidate in ranking.candidates:
        release = _unpack(machine, trusted, candidate, name)
        machine.enter(State.GATE)
        machine.tell("note", f"proving {candidate.target} on this device")
        verdict = pass_gate(release, machine.config)
        if isinstance(verdict, Report):
            return _Staged(release=release, candidate=candidate, report=verdict, why_nots=tuple(why_nots))
        machine.tell("note", f"{verdict.target} does not run here: {verdict.reason}")
        why_nots.append(verdict)
        drop_staged(machine, name)
    raise _nothing_runs(manifest, ranking, why_nots)


def _unpack(machine: Machine, trusted: Trusted, candidate: Candidate, name: str) -> Release:
    machine.enter(
        State.FETCH,
        release=name,
        number=trusted.manifest.release,
        manifest_sha256=trusted.manifest_sha256,
        target=candidate.target,
    )
    wanted = [*candidate.entry.variant.files, trusted.manifest.golden]
    fetch_blobs(
        trusted,
        wanted,
        machine.layout.store,
        on_progress=lambda done, total: machine.tell("progress", done=done, total=total),
    )
    machine.enter(State.STAGE)
    return write_release(
        trusted.manifest_bytes,
        trusted.manifest,
        candidate.target,
        machine.layout.store,
        machine.folder(name),
        device=candidate.device_type,
    )


def _back_up(machine: Machine, staged: _Staged) -> None:
    machine.enter(State.BACKUP)
    saved = save(machine.layout, machine.config.product, datetime.now(UTC))
    machine.record(saved=saved, target=staged.candidate.target)


def _try_out(machine: Machine, staged: _Staged, before: Pointer) -> Health:
    """Make the release live on trial, publish it, restart the application and watch it."""
    name = staged.release.folder.name
    machine.enter(State.SWITCH, previous=before.current, older=before.previous)
    write_pointer(machine.layout, Pointer(current=name, previous=before.current, trial=True))
    machine.enter(State.PUBLISH)
    publish(machine.layout, machine.config.product, staged.release)
    machine.enter(State.PROBATION, restarted=True)
    restarted = restart(machine, name)
    if restarted is not None and not restarted.ok:
        return Health(ok=False, why=restarted.why, checks=0, failures=0, first_success_s=None)
    if machine.config.hooks.health is None:
        return Health(ok=True, why="", checks=0, failures=0, first_success_s=None)
    return probation(
        lambda: _checked(machine, name),
        window_s=machine.config.probation_s,
        interval_s=machine.config.probe_interval_s,
    )


def _checked(machine: Machine, name: str) -> HookResult:
    result = check_health(machine, name)
    if result is None:
        return HookResult(ok=True, why="", seconds=0.0)
    machine.tell("note", "healthy" if result.ok else result.why)
    return result


def _went_back(machine: Machine, staged: _Staged, health: Health, expires: str) -> InstallReport:
    """Roll back for health: offline, and to what this device already trusted."""
    report = _report(machine, staged, health, expires)
    manifest = staged.release.manifest
    go_back(machine, Reason(why=f"It was not healthy: {health.why}", refuse=True))
    live = live_release(machine)
    where = f"is back on {live.manifest.name}" if live else "has nothing installed, as before"
    return replace(
        report,
        outcome="rolled_back",
        message=f"{manifest.name} was not healthy ({health.why}); this device {where}",
        why=health.why,
        live=machine.pointer().current,
        steps=tuple(machine.steps),
    )


def _report(machine: Machine, staged: _Staged, health: Health, expires: str) -> InstallReport:
    candidate, release = staged.candidate, staged.release
    return InstallReport(
        outcome="installed",
        message=f"imported {candidate.model_file} ({candidate.device_type} optimized)",
        product=release.manifest.product,
        release=release.folder.name,
        number=release.manifest.release,
        version=release.manifest.version,
        target=candidate.target,
        device=candidate.device_type,
        why=candidate.reason,
        why_nots=staged.why_nots,
        report=staged.report,
        health=health,
        backup=tuple(f"{machine.layout.backups.name}/{saved.backup}" for saved in machine.transaction.saved),
        live=release.folder.name,
        previous=machine.transaction.previous,
        metadata_expires=expires,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _already_installed(machine: Machine, live: Release, expires: str) -> InstallReport:
    return InstallReport(
        outcome="already_installed",
        message=f"{live.manifest.name} is already installed",
        product=live.manifest.product,
        release=live.folder.name,
        number=live.manifest.release,
        version=live.manifest.version,
        target=live.entry.variant.name,
        device=live.device,
        why="Every byte of it is as it was signed.",
        live=live.folder.name,
        previous=machine.pointer().previous,
        metadata_expires=expires,
        steps=tuple(machine.steps),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _undo(machine: Machine, error: BaseException) -> None:
    """Lead a failed install out of the state it is in; what cannot be done now is done at the next start."""
    why = error.message if isinstance(error, WherryError) else "It was interrupted."
    way = TABLE[machine.state].otherwise
    if way is Way.DISCARD:
        refused = isinstance(error, RefusedError | TrustError | ToolchainMissingError)
        discard(machine, why, kind="refused" if refused else "discarded")
    elif way is Way.BACK and machine.state is not State.ROLLBACK:
        go_back(machine, Reason(why=why, refuse=False))


def _nothing_runs(manifest: Manifest, ranking: Ranking, why_nots: list[WhyNot]) -> WherryError:
    reasons = " ".join(f"{why.target}: {why.reason}" for why in why_nots)
    msg = f"No variant of {manifest.name} can be used on this machine. {reasons}"
    if not ranking.candidates:
        return ToolchainMissingError(
            msg, next_step="Install one of the runtimes, or ask for a bundle for this machine."
        )
    return ProofRefusedError(msg, next_step="The device is unchanged. Ask for a variant that this machine can run.")


def _folder_name(machine: Machine, trusted: Trusted) -> str:
    """Return the release's folder name; another one when the pointer names it already, as that folder is damaged."""
    manifest, pointer = trusted.manifest, machine.pointer()
    name = first = f"{manifest.release}-v{manifest.version}-{short(trusted.manifest_sha256)}"
    number = 1
    while name in {pointer.current, pointer.previous}:
        number += 1
        name = f"{first}-{number}"
    return name
