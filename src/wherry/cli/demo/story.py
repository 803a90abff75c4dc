"""The verb `demo`: the whole road on this machine, told as a short story."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import AsJson, Product, Quiet

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherry.cli.demo.world import World


def add_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where everything is made; kept for the next run.")] = Path(
        "wherry-demo"
    ),
    product: Product = "EmberEye",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Carry a real model down the whole road, and go wrong on purpose."""
    from wherry.cli.demo.world import make_world
    from wherry.cli.extras import demand_all
    from wherry.cli.output import emit, progress_screen, screen, table
    from wherry.core.model import check_name

    demand_all("demo")
    console = progress_screen(quiet=quiet) if as_json else screen()
    console.quiet = quiet
    world = make_world(folder, check_name(product, "a product's name"), console)
    run(world)
    world.document["reused"] = world.reused
    world.document["folder"] = str(world.folder)
    rows = [
        ("registry", world.registry, "versions, variants, proofs, history"),
        ("files", world.registry / "models", "the same for people: weights, exports, signed packages"),
        ("keys", world.trust, "the publisher's keys; private"),
        ("device", world.device, f"models/{product}.* is what the application reads"),
    ]
    again = f"Reused {len(world.reused)} things of an earlier run." if world.reused else "A second run reuses it."
    seconds = sum(step["seconds"] for step in world.document.values() if isinstance(step, dict))
    text: list[RenderableType] = [
        table(("what", "where", ""), rows, title="Everything it made"),
        f"Done in {seconds:.0f} s. {again}",
    ]
    emit(world.document, text, as_json=as_json, quiet=quiet)


def run(world: "World") -> None:
    """Run the nine steps in order; the site's application is stopped at the end, whatever happens."""
    from wherry.cli.demo import making, shipping, site, trouble

    trained = making.train(world)
    versions = making.register(world, trained)
    making.export(world, versions, trained)
    making.prove(world, versions)
    making.bench(world, versions)
    bundles = shipping.pack(world, versions)
    try:
        port = shipping.install(world, bundles)
        shipping.serve(world, trained[0].held_out, port)
        trouble.go_wrong(world, trained)
    finally:
        site.stop(world.device)
