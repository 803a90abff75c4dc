"""Options that several verbs share, each written once."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wherry.jobs.pool import Jobs
    from wherry.registry import Registry

AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors (and JSON, if asked).")]
RegistryPath = Annotated[
    Path, typer.Option("--registry", envvar="WHERRY_REGISTRY", help="Folder of the registry.", show_default=True)
]
Ref = Annotated[str, typer.Argument(help="NAME@v2 for a version, NAME@current_best for an alias.", metavar="NAME@V")]
Who = Annotated[str | None, typer.Option("--who", envvar="WHERRY_WHO", help="Who decides; by default the login name.")]
Why = Annotated[str, typer.Option("--why", help="Why; kept in the history for ever.")]
Product = Annotated[
    str, typer.Option("--product", envvar="WHERRY_PRODUCT", help="What the files are called on a device.")
]
TreeProduct = Annotated[
    str,
    typer.Option("--product", envvar="WHERRY_PRODUCT", help="Product name in the readable tree."),
]
Trust = Annotated[
    Path, typer.Option("--trust", envvar="WHERRY_TRUST", help="Folder of the publisher's keys and metadata.")
]
TargetNames = Annotated[
    list[str] | None, typer.Option("--target", "-t", help="A target such as onnx-int8; may be given several times.")
]
DeviceRoot = Annotated[Path, typer.Option("--root", envvar="WHERRY_ROOT", help="Folder of the product on this device.")]

DEFAULT_REGISTRY = Path("wherry-registry")
DEFAULT_TRUST = Path("wherry-trust")


class JobPlace(StrEnum):
    """Where jobs run."""

    HERE = "here"
    RAY = "ray"


On = Annotated[JobPlace, typer.Option("--on", help="Where the jobs run: here, or on a Ray cluster.")]
RayAddress = Annotated[
    str | None, typer.Option("--ray-address", envvar="RAY_ADDRESS", help="Address of the Ray cluster, HOST:6379.")
]
Timeout = Annotated[float | None, typer.Option(help="Seconds after which one job is given up.", min=1)]
Memory = Annotated[float | None, typer.Option(help="GB of memory above which one job is given up.", min=0.1)]
Parallel = Annotated[int | None, typer.Option(help="Jobs at a time; by default 2 here, all processors on Ray.", min=1)]


def jobs_of(
    on: JobPlace, ray_address: str | None, timeout: float | None, memory: float | None, parallel: int | None
) -> "Jobs":
    """Return what the options say about jobs."""
    from wherry.jobs.pool import Jobs

    limit = None if memory is None else int(memory * 1e9)
    return Jobs(on=on.value, ray_address=ray_address, parallel=parallel, timeout_s=timeout, memory_bytes=limit)


def actor(who: str | None) -> str:
    """Return who decides: the option, or the login name."""
    if who:
        return who
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def refresh_tree(registry: "Registry", ref: str, product: str) -> Path:
    """Bring the readable tree of a model up to date, for the product it was made for unless one is named; return it."""
    from wherry.registry import tree

    model = ref.partition("@")[0]
    return tree.refresh(registry, model, product or tree.product_of(registry, model) or model)


def numbers(text: str, option: str, *, least: int) -> tuple[int, ...]:
    """Read `1,4,8`.

    Raises:
        UsageError: it is not a list of whole numbers, or one is too small.
    """
    from wherry.core.errors import UsageError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= least for part in parts):
        msg = f"{option} takes whole numbers from {least} on, separated by commas, and got {text!r}."
        raise UsageError(msg, next_step=f"Write it like {option} 1,4,8.")
    return tuple(map(int, parts))
