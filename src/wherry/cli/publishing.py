"""Verbs of the publisher: bundle, keys."""

from pathlib import Path
from typing import Annotated

import typer

from wherry.cli.options import (
    DEFAULT_REGISTRY,
    DEFAULT_TRUST,
    AsJson,
    Product,
    Quiet,
    Ref,
    RegistryPath,
    Trust,
    Who,
    Why,
    actor,
)

keys = typer.Typer(help="The publisher's keys.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("bundle")(bundle)
    app.add_typer(keys, name="keys")


def bundle(
    ref: Ref,
    product: Product,
    why: Why,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the signed bundle; by default the version's packages in the tree.")
    ] = None,
    expires_days: Annotated[int, typer.Option(help="Days until the bundle's signatures expire.", min=1)] = 90,
    trust: Trust = DEFAULT_TRUST,
    who: Who = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Pack the proven variants of a version into one signed file, as the product's next release."""
    from wherry import delivery
    from wherry.cli.output import emit, megabytes
    from wherry.registry import Registry

    shipment = delivery.Shipment(
        product=product, trust=trust, out=out, who=actor(who), why=why, expires_days=expires_days
    )
    with Registry.open(registry, create=False) as opened:
        signed = delivery.bundle(opened, ref, shipment)
    manifest = signed.manifest
    result = {
        "path": str(signed.path),
        "sha256": signed.sha256,
        "size": signed.size,
        "release": manifest.release,
        "product": manifest.product,
        "version": manifest.version,
        "variants": [entry.variant.name for entry in manifest.entries],
    }
    line = f"{signed.path}: {manifest.name}, {len(manifest.entries)} variants, {megabytes(signed.size)}"
    emit(result, [line], as_json=as_json, quiet=quiet)


@keys.command("init")
def keys_init(trust: Trust = DEFAULT_TRUST, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Make the publisher's keys and the root of trust."""
    from wherry.bundle.trust.keys import init_keys
    from wherry.cli.output import emit

    summary = init_keys(trust)
    line = f"{trust}: keys made. Keep this folder private, and give {trust}/metadata/1.root.json to your devices."
    emit(summary, [line], as_json=as_json, quiet=quiet)


@keys.command("list")
def keys_list(trust: Trust = DEFAULT_TRUST, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the publisher's keys."""
    from wherry.bundle.trust.keys import list_keys
    from wherry.cli.output import emit, table

    found = list_keys(trust)
    rows = [(key.role, key.keyid[:12], key.scheme, key.expires) for key in found]
    emit(found, [table(("role", "key", "scheme", "metadata expires"), rows)], as_json=as_json, quiet=quiet)
