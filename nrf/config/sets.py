"""A constructed data set, as an entry of an experiment's list."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nrf.config.parts import Training, require


@dataclass(frozen=True)
class Set:
    """A data set made of another one, and the fresh network that is trained on it.

    `recipe` is called as recipe(key, dataset, *sources, env=env), and gives a
    `nrf.runs.Constructed`. Its settings are its fields, if it is a dataclass:
    `nrf.experiments.recipes` has those of the paper, and a function of yours will do.
    """

    name: str  # Such as "D_R"; its network is "on_D_R".
    recipe: Callable[..., Any]  # What makes it.
    # What it is made with: a network on D, or an earlier set, or several of them.
    source: str | tuple[str, ...] = ()
    train: Training | None = None  # Of the fresh network; None for no network.
    of: str = "D"  # The data set that is changed: "D", "test", or an earlier set.
    attacked: bool = True  # Test the fresh network under attack, too.
    title: str = ""  # How reports call it; its name where nothing is given.
    text: str = ""  # A sentence on how it is made; the recipe's where none is given.

    def __post_init__(self):
        require(
            callable(self.recipe),
            f"recipe of {self.name} must be callable, got {self.recipe!r}; write the "
            "function itself, or a dataclass with __call__.",
        )
        self._check_signature()

    def _check_signature(self) -> None:
        try:
            signature = inspect.signature(self.recipe)
        except ValueError:  # Some functions that are not written in Python have none.
            return
        try:
            signature.bind("key", "dataset", *self.sources, env=None)
        except TypeError as error:
            names = ", ".join(("key", self.of, *self.sources))
            takes = ", ".join(
                str(p.replace(annotation=p.empty))
                for p in signature.parameters.values()
            )
            raise ValueError(
                f"the recipe of {self.name} is called as recipe({names}, env=env), and "
                f"takes ({takes}): {error}."
            ) from error

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,) if isinstance(self.source, str) else self.source
