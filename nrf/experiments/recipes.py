"""How the paper's data sets are made.

    D_R = Set("D_R", Match(steps=1000, step_size=0.1), source="robust", train=standard)

A recipe is called as recipe(key, dataset, *sources, env=env) and gives a `Constructed`;
its fields are its settings. So are functions of yours, with `constructed` for the rest:

    def inverted(key, dataset, *, env):
        return constructed(dataset, 1 - dataset.images, dataset.labels)

`nrf.experiments.controls` has those that the paper's readers asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from nrf import attacks, losses, synthesize
from nrf.config import PGD
from nrf.config.parts import require, require_counts, require_positive
from nrf.experiments import build, climbs
from nrf.rows import Lazy, cast, held, rows_at_once
from nrf.runs import Constructed, Cost, Env, costs
from nrf.runs.provenance import describe
from nrf.types import Dataset, Key, Loss, Model, Network, check_images


def constructed(
    dataset: Dataset,
    images: np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray | None = None,
    **measured: float,
) -> Constructed:
    """What a recipe gives: a set made of `dataset`.

    Args:
      dataset: The original.
      images: [M, H, W, C] in [0, 1].
      labels: [M] to be learned.
      indices: [M] of the originals in `dataset`; as they are by default.
      measured: Numbers on how it went, for the set's readers.
    """
    at = np.arange(len(labels)) if indices is None else np.asarray(indices)
    return Constructed(
        cast(held(images), np.float32),
        np.asarray(labels, np.int32),
        dataset.labels[at],
        at,
        dataset.names,
        {name: float(value) for name, value in measured.items()},
    )


@dataclass(frozen=True)
class Match:
    """Other images, moved until the source sees in them what it sees in x.

    With a robust source this makes D_R, with a standard one D_NR (section 3.1 and
    appendix C.4).
    """

    steps: int  # Gradient steps.
    step_size: float  # Length of each, in l2 and [0, 1] pixels.
    decay: bool = False  # Steps shrink linearly to zero; the paper's do not.
    start: Literal["image", "noise"] = "image"  # Another image of the set, or noise.
    # Back-propagate the last ReLU as identity, as the authors' library does, where the
    # network says which that is.
    identity_relu: bool = False
    copies: int = 1  # Times that every image is matched, from different starts.
    # Distance of features, made of `apply` as in `nrf.losses`; None: the l2 norm.
    distance: Callable[..., Loss] | None = None

    def __post_init__(self):
        require_counts(self, "steps", "copies")
        require_positive(self, "step_size")
        require(
            self.start in ("image", "noise"),
            f"start must be 'image' or 'noise', got {self.start!r}.",
        )

    def cost(self, dataset: Dataset, source: Network) -> Cost:
        examples = self.copies * len(dataset.labels)
        return Cost(examples, examples * self.steps)

    def starts(self, key: Key, dataset: Dataset) -> Lazy:
        """[M, H, W, C] where a call with this key starts, for pictures."""
        images, copies = dataset.images, self.copies
        return synthesize.matching_starts(key, images, self.start, copies)

    def __call__(
        self, key: Key, dataset: Dataset, source: Network, *, env: Env
    ) -> Constructed:
        made = synthesize.robustify(
            key,
            matcher(source.model, self),
            source.params,
            dataset,
            start=self.start,
            copies=self.copies,
            batch_size=env.work.synthesis_batch,
            mesh=env.mesh,
            tick=env.tick,
            shards=env.shards,
        )
        return constructed(
            dataset,
            made.images,
            made.labels,
            made.indices,
            start_distance=made.start_distance.mean(),
            final_distance=made.final_distance.mean(),
        )


@build.cached
def matcher(net: Model, settings: Match) -> Callable:
    """`synthesize.make_robustify` as the settings say."""
    return synthesize.make_robustify(
        build.identity_relu(net) if settings.identity_relu else net.apply,
        lambda loss: attacks.pgd(
            loss,
            attacks.free(),
            steps=settings.steps,
            step_size=settings.step_size,
            decay=settings.decay,
        ),
        distance=settings.distance or losses.feature_distance,
    )


@dataclass(frozen=True)
class Mislabel:
    """The image itself, attacked until the source sees the new label.

    To a random class this makes D_rand, to the next one D_det (section 3.2 and appendix
    C.5).
    """

    attack: PGD  # Towards the new label.
    to: Literal["random", "next"]  # Which label that is.
    identity_relu: bool = False  # As in Match.

    def __post_init__(self):
        require(
            self.to in ("random", "next"),
            f"to must be 'random' or 'next', got {self.to!r}.",
        )

    def cost(self, dataset: Dataset, source: Network) -> Cost:
        return attacked(dataset, self.attack)

    def __call__(
        self, key: Key, dataset: Dataset, source: Network, *, env: Env
    ) -> Constructed:
        key, key_targets = jax.random.split(key)
        labels = jnp.asarray(dataset.labels)
        if self.to == "random":
            targets = synthesize.random_targets(
                key_targets, labels, dataset.num_classes
            )
        else:
            targets = synthesize.next_class(labels, dataset.num_classes)
        perturb = climbs.mislabeller(source.model, self.attack, self.identity_relu)
        return pushed(key, perturb, source.params, dataset, targets, self.attack, env)


def attacked(dataset: Dataset, attack: PGD) -> Cost:
    """Of an attack on every image of the set."""
    examples = len(dataset.labels)
    return Cost(examples, examples * attack.steps * attack.restarts)


def pushed(
    key: Key,
    perturb: Callable,
    params: Any,
    dataset: Dataset,
    targets: jax.Array,
    attack: PGD,
    env: Env,
) -> Constructed:
    """The images, moved towards `targets` [N] and labelled so."""
    made = synthesize.mislabel(
        key,
        perturb,
        params,
        dataset,
        np.asarray(targets),
        batch_size=env.work.synthesis_batch,
        mesh=env.mesh,
        tick=env.tick,
        shards=env.shards,
    )
    order = {"l2": 2, "linf": np.inf}[attack.norm]
    return constructed(
        dataset,
        made.images,
        made.labels,
        reached_target=made.reached.mean(),
        max_norm=norms(made.images, dataset.images, order).max(),
    )


def norms(images: Any, originals: Any, order: float = 2) -> np.ndarray:
    """[N] how far images are from others, a few of them at a time in memory."""
    at_once = rows_at_once(images)
    starts = range(0, len(images), at_once)
    moved = (images[i : i + at_once] - originals[i : i + at_once] for i in starts)
    return np.concatenate(
        [np.linalg.norm(d.reshape(len(d), -1), order, axis=1) for d in moved]
    )


def _construct_cost(dataset: Dataset, *sources: Any, recipe, **_: Any) -> Cost | None:
    return recipe.cost(dataset, *sources) if hasattr(recipe, "cost") else None


@costs(_construct_cost)
def construct(
    key: Key,
    dataset: Dataset,
    *sources: Any,
    recipe: Callable[..., Constructed],
    storage: str,
    env: Env,
) -> Constructed:
    """What the recipe makes, checked, and with what its readers are told.

    Raises:
      ValueError: it is no `Constructed`, or has pixels outside of [0, 1].
    """
    made = recipe(key, dataset, *sources, env=env)
    name = env.step.rpartition("/")[2]
    if not isinstance(made, Constructed):
        raise ValueError(
            f"the recipe of {name} must return a Constructed, got a "
            f"{type(made).__name__}; nrf.experiments.constructed makes one."
        )
    check_images(made.images)
    of, *others = env.inputs
    said = {
        "set": name,
        **env.origin,
        "of": of,
        "source": others[0] if len(others) == 1 else others,
        "settings": describe(recipe),
    }
    return made._replace(
        images=cast(made.images, storage),
        provenance={**said, **made.provenance},
    )
