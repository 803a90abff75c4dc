"""The recipe family's table: listing it imports nothing."""

import importlib

from wherry.core.errors import NotFoundError
from wherry.train.recipe import Recipe

RECIPES: dict[str, str] = {
    "null": "wherry.train.recipes.null:RECIPE",
    "digits": "wherry.train.recipes.digits:RECIPE",
}


def recipe_named(name: str) -> Recipe:
    """Return the recipe of that name; imports its file, and with it torch.

    Raises:
        NotFoundError: no such recipe.
    """
    if name not in RECIPES:
        msg = f"There is no recipe {name!r}."
        raise NotFoundError(msg, next_step=f"Use one of {', '.join(RECIPES)}.")
    module, _, attribute = RECIPES[name].partition(":")
    found: Recipe = getattr(importlib.import_module(module), attribute)
    return found
