"""The gate: the proof runs again, on this device, beside the live model, before anything is switched."""

from wherry.agent.config import DeviceConfig
from wherry.bundle.release import Release
from wherry.core.errors import ChildError, EngineError, ProofRefusedError, ToolchainMissingError
from wherry.core.report import Report, Verdict, WhyNot

_DOES_NOT_RUN_HERE = frozenset({Verdict.LOAD_FAIL, Verdict.RUN_FAIL})


def pass_gate(release: Release, config: DeviceConfig) -> Report | WhyNot:
    """Prove a staged release on this device: return the report, or why its variant does not run here.

    The difference matters. A variant that this machine cannot run says nothing against the release, and the next
    candidate may be tried. A variant that runs and gives other outputs than those that were signed is evidence that
    something is wrong with what arrived or with this machine, and no other variant can make that good.

    Raises:
        ProofRefusedError: it runs and does not reproduce the reference outputs.
        WherryError: the proof could not be made, for example as the golden set cannot be read.
    """
    target = release.entry.variant.name
    try:
        report = prove_here(release, config)
    except (ToolchainMissingError, EngineError, ChildError) as error:
        return WhyNot(target=target, reason=error.message)
    if report.passed:
        return report
    reason = f"{'; '.join(report.reasons)}."
    if report.verdict in _DOES_NOT_RUN_HERE:
        return WhyNot(target=target, reason=reason)
    msg = f"{release.manifest.name} was refused: as {target} it fails its proof on this device. {reason}"
    raise ProofRefusedError(msg, next_step="The device is unchanged. Prove the release at the training site again.")


def prove_here(release: Release, config: DeviceConfig) -> Report:
    """Return the report of the proof of a staged or live release, run in a child process on this device.

    Raises:
        ChildError: the child crashed, hung or took too much memory.
        WherryError: what the proof itself raised, such as a golden set that cannot be read.
    """
    from wherry.jobs.child import run_in_child
    from wherry.proof.job import ProofJob

    job = ProofJob(
        variant=release.entry.variant,
        main=str(release.main),
        spec=release.manifest.spec,
        golden=str(release.golden),
        golden_sha256=release.manifest.golden.sha256,
        where="device",
        device=release.device,
        threads=config.threads,
    )
    return run_in_child(
        "wherry.proof.job:prove_release",
        job,
        Report,
        timeout_s=config.gate_timeout_s,
        memory_bytes=config.gate_memory_bytes,
    )
