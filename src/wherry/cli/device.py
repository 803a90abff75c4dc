"""Verbs of the device: detect, init, install, status, verify, rollback, history."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import AsJson, DeviceRoot, Quiet, Who, Why, actor

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherry.agent import AgentEvent

device = typer.Typer(
    help="The device: what it has, what is installed, and how it got there.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(device, name="device")


@device.command()
def detect(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Say what this machine has: processor, memory, accelerators, runtimes."""
    from wherry.agent import detect as probe
    from wherry.cli.output import emit, table

    profile = probe()
    runtimes = [f"{name} {version}" for name, version in profile.runtimes.items() if name != "null"]
    rows: list[tuple[str, object]] = [
        ("system", f"{profile.os} {profile.arch}"),
        ("processor", f"{profile.cpu}, {profile.cores} cores"),
        ("vector extensions", ", ".join(profile.vector_extensions) or "-"),
        ("memory", f"{profile.memory_bytes / 2**30:.1f} GiB"),
        ("accelerators", ", ".join(f"{a.name} ({a.device_type})" for a in profile.accelerators) or "none"),
        (
            "runtimes",
            ", ".join(runtimes) or "none",
        ),
    ]
    emit(profile, [table(("this machine", ""), rows)], as_json=as_json, quiet=quiet)


@device.command()
def init(
    root: DeviceRoot,
    product: Annotated[str, typer.Option(help="The product that lives here.")],
    root_key: Annotated[Path, typer.Option(help="The publisher's root.json; it is pinned for ever.")],
    restart: Annotated[str | None, typer.Option(help="Command that restarts the application after a switch.")] = None,
    health: Annotated[
        str | None, typer.Option(help="Command that ends with 0 when the application is healthy.")
    ] = None,
    probation_s: Annotated[float, typer.Option(help="Seconds that the application must stay healthy.", min=0.0)] = 5.0,
    keep: Annotated[int, typer.Option(help="Releases to keep for going back.", min=2)] = 2,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Prepare a folder as a device and pin whom it trusts."""
    from wherry.agent import Hooks, init_device
    from wherry.cli.output import emit

    hooks = Hooks(restart=_argv(restart), health=_argv(health))
    key = _key(root_key)
    config = init_device(root, product=product, root_key=key, hooks=hooks, probation_s=probation_s, keep=keep)
    emit(config, [f"{root} is ready for {product}."], as_json=as_json, quiet=quiet)


@device.command()
def install(
    bundle: Annotated[Path, typer.Argument(help="A signed bundle: .zip or folder.")],
    root: DeviceRoot,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Verify, choose, prove here, back up, switch, watch; the old release stays until the new one is healthy."""
    from wherry.agent import install as run_install
    from wherry.cli.output import emit, end_with, progress_screen, table
    from wherry.core.errors import HealthError

    console = progress_screen(quiet=quiet)

    def tell(event: "AgentEvent") -> None:
        if event.kind == "entered" or event.message:
            console.print(f"{event.state.value.lower():>12}  {event.message}".rstrip(), highlight=False)

    report = run_install(root, bundle, on_event=tell)
    parts: list[RenderableType] = [report.message]
    if report.why_nots:
        parts.append(table(("not", "because"), [(why.target, why.reason) for why in report.why_nots]))
    emit(report, parts, as_json=as_json, quiet=quiet)
    if report.outcome == "rolled_back":
        step = "`wherry device history` holds the reason; the old release is live."
        end_with(HealthError(report.message, next_step=step))


@device.command()
def status(root: DeviceRoot, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Say what is live, what it could go back to, and how old its signatures are."""
    from wherry.agent import status as read_status
    from wherry.cli.output import emit, table
    from wherry.core.codec import to_builtins

    found = read_status(root)
    rows = [
        (name.replace("_", " "), value) for name, value in to_builtins(found).items() if not isinstance(value, dict)
    ]
    emit(found, [table((str(root), ""), rows)], as_json=as_json, quiet=quiet)


@device.command()
def verify(root: DeviceRoot, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Check every byte of the live release and run its proof again."""
    from wherry.agent import verify as run_verify
    from wherry.cli.output import emit, end_with
    from wherry.core.errors import ProofRefusedError

    found = run_verify(root)
    emit(found, [found.message], as_json=as_json, quiet=quiet)
    if not found.passed:
        step = "Install the release again, or `wherry device rollback`."
        end_with(ProofRefusedError(found.message, next_step=step))


@device.command()
def rollback(root: DeviceRoot, why: Why, who: Who = None, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Go back, offline, to the release that was live before and is still here."""
    from wherry.agent import rollback as run_rollback
    from wherry.cli.output import emit

    report = run_rollback(root, who=actor(who), why=why)
    emit(report, [report.message], as_json=as_json, quiet=quiet)


@device.command()
def history(root: DeviceRoot, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Tell what happened on this device, with reasons and numbers."""
    from wherry.agent import history as read_history
    from wherry.cli.output import emit, table

    entries = read_history(root)
    rows = [(entry.at[:19].replace("T", " "), entry.kind, entry.message) for entry in entries]
    emit(entries, [table(("when", "what", "why"), rows)], as_json=as_json, quiet=quiet)


def _argv(command: str | None) -> tuple[str, ...] | None:
    return None if command is None else tuple(shlex.split(command))


def _key(path: Path) -> bytes:
    from wherry.core.errors import NotFoundError

    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"The root key {path} cannot be read: {error.strerror}."
        raise NotFoundError(msg, next_step="It is `metadata/1.root.json` in the publisher's trust folder.") from error
