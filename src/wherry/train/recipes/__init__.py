"""The recipe family's table: listing it imports nothing."""

from wherry.core.family import look_up
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
    found: Recipe = look_up(RECIPES, name, "recipe")
    return found
