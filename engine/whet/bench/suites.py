"""The suites of recipes, and what each asks."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from whet.errors import ConfigError


@dataclass(frozen=True)
class Suite:
    """Recipes of one kind. They lie in conf/whet_conf/experiment/<folder>."""

    name: str
    verb: str  # that runs a recipe: eval or fit
    question: str
    against: str | None = None  # the recipe the others are compared with

    @property
    def folder(self) -> str:
        """Where its recipes are; also how they begin as an experiment=."""
        return self.name.replace("-", "_")


SUITES = {
    suite.name: suite
    for suite in (
        Suite("zero-shot", "eval", "Does a model give its published figures?"),
        Suite("bm25", "eval", "How good is counting words on the same collections?"),
        Suite("fine-tuning", "fit", "How much better is a model after a fit with the defaults?"),
        Suite("mining", "fit", "Which hard negatives help most?", against="naive"),
        Suite("refresh", "fit", "Does mining again while training pay?", against="off"),
    )
}
MTEB = "mteb"  # whose recipes are the tasks of that package


def find_suite(name: str) -> Suite:
    """The suite of a name. ConfigError with the nearest, if there is none."""
    if name in SUITES:
        return SUITES[name]
    names = [*SUITES, MTEB]
    near = get_close_matches(name.replace("_", "-"), names, 1, cutoff=0.5)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise ConfigError(f"there is no suite {name!r}. {hint}There are {', '.join(names)}.")
