"""Versions, aliases, events and blobs: what exists, what each name points at, and who moved it when and why.

Start with `Registry.open(folder)`. `wherry.registry.tree.refresh` keeps the readable folder beside it.
"""

from wherry.registry.registry import Registry

__all__ = ["Registry"]
