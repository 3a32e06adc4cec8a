"""How close the classes lie beside the pushes, and how far matching got.

D_rand and D_det show non-robust features if their pushes are small beside the distance
to another class, and if what is not the attacked network still sees the true class.
D_R and D_NR have the features that they should if a longer matching would find no
closer ones.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from scipy.spatial.distance import cdist

from nrf import devices, evaluate, losses
from nrf.config import Closeness, Experiment, Norm
from nrf.config.parts import evenly_spaced
from nrf.experiments import build
from nrf.experiments.networks import Row
from nrf.experiments.recipes import Match, Mislabel, matcher
from nrf.models import Linear
from nrf.runs import Cost, Env, Made, Steps, costs
from nrf.types import Dataset, Key, Network


def run(
    config: Experiment, step: Steps, made: Mapping[str, Made], settings: Closeness
) -> Row:
    """Of one seed: "pushed" and "matched", with an entry for each such set of D.

    A push's "share" is its radius over "between_classes", the median distance to the
    nearest image of another class. What the nearest image of D, its own original left
    out, and a linear student of D say of pushed images is counted over those whose
    label the push has changed: "target", "true" or "other" class.
    """
    sets = [one for one in config.all_sets if one.of == "D"]
    linear = [
        made[f"{name}_on_D"]
        for name, student in config.learners.items()
        if isinstance(student.network, Linear)
    ]
    D, images = made["D"], settings.images
    pushes = {one.name: one.recipe for one in sets if isinstance(one.recipe, Mislabel)}
    between = {
        norm: step(f"between_classes_{norm}", _between, D, norm=norm, images=images)
        for norm in sorted({recipe.attack.norm for recipe in pushes.values()})
    }
    pushed = []
    for name, recipe in pushes.items():
        norm, epsilon = recipe.attack.norm, recipe.attack.epsilon
        median = between[norm].value["between_classes"]
        inputs = D, made[name], *linear[:1]
        seen = step(f"closeness_{name}", _pushed, *inputs, norm=norm, images=images)
        entry = {"set": name, "norm": norm, "epsilon": epsilon, **between[norm].value}
        # In a plan there are no distances.
        entry["share"] = epsilon / median if median else None
        pushed.append({**entry, **seen.value})
    matched = []
    for one in sets if settings.matched else ():
        if isinstance(one.recipe, Match):
            seen = step(
                f"closeness_{one.name}",
                _matched,
                D,
                made[one.name],
                made[one.sources[0]],
                recipe=one.recipe,
                images=settings.matched,
                steps=settings.steps,
                draws=one.name,  # As the set itself did, for the same starts.
            )
            matched.append({"set": one.name, **seen.value})
    return {"seed": step.seed, "pushed": pushed, "matched": matched}


def nearest(
    x: np.ndarray,
    groups: np.ndarray,
    images: np.ndarray,
    of: np.ndarray,
    norm: Norm,
    block: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """The distance to the nearest of `images`, and its index, for every image of x.

    Args:
      x: [Q, H, W, C].
      groups: [Q]; images of the same group are left out.
      images: [N, H, W, C].
      of: [N] the groups of these.
      norm: Of the distance, in [0, 1] pixels.
      block: So many of `images` at once, which bounds the memory.

    Returns:
      [Q] distances, infinite where there is no other group, and [Q] indices.
    """
    x = x.reshape(len(x), -1)
    best, index = np.full(len(x), np.inf), np.zeros(len(x), int)
    metric: Any = {"l2": "euclidean", "linf": "chebyshev"}[norm]
    for start in range(0, len(images), block):
        part = slice(start, start + block)
        away = cdist(x, images[part].reshape(-1, x.shape[1]), metric)
        away[groups[:, None] == of[None, part]] = np.inf
        closest, at = away.min(1), away.argmin(1)
        index = np.where(closest < best, start + at, index)
        best = np.minimum(closest, best)
    return best, index


def _chosen(images: int, dataset: Dataset) -> np.ndarray:
    return np.asarray(evenly_spaced(images, len(dataset.labels)))


@costs(lambda D, *, norm, images: Cost(len(_chosen(images, D)), 0))
def _between(key: Key, D: Dataset, *, norm: Norm, images: int, env: Env) -> Row:
    chosen = _chosen(images, D)
    x, labels = D.images[chosen], D.labels[chosen]
    away, _ = nearest(x, labels, D.images, D.labels, norm)
    env.tick(len(chosen))
    return {"images": len(chosen), "between_classes": float(np.median(away))}


@costs(lambda D, pushed, *linear, norm, images: Cost(len(_chosen(images, D)), 0))
def _pushed(
    key: Key,
    D: Dataset,
    pushed: Dataset,
    *linear: Network,
    norm: Norm,
    images: int,
    env: Env,
) -> Row:
    chosen = _chosen(images, D)
    moved = chosen[pushed.labels[chosen] != D.labels[chosen]]
    x, true, target = pushed.images[moved], D.labels[moved], pushed.labels[moved]
    _, neighbour = nearest(x, moved, D.images, np.arange(len(D.labels)), norm)
    said = {"nearest": D.labels[neighbour]}
    for network in linear:
        said["linear"] = evaluate.predictions(
            build.predict(network.model),
            network.params,
            x,
            batch_size=env.work.evaluation_batch,
            mesh=env.mesh,
            shards=env.shards,
        )
    env.tick(len(chosen))
    counts = {
        name: {
            "target": int((classes == target).sum()),
            "true": int((classes == true).sum()),
            "other": int(((classes != target) & (classes != true)).sum()),
        }
        for name, classes in said.items()
    }
    return {"total": len(moved), **counts}


def _matched_cost(D, made, source, *, recipe: Match, images: int, steps: int) -> Cost:
    count = min(images, recipe.copies * len(D.labels))
    return Cost(count, count * steps)


@costs(_matched_cost)
def _matched(
    key: Key,
    D: Dataset,
    made: Dataset,
    source: Network,
    *,
    recipe: Match,
    images: int,
    steps: int,
    env: Env,
) -> Row:
    """Distances of features where matching starts, where it got, and after a long run.

    The last one starts there too; its steps shrink to zero.
    """
    starts = recipe.starts(jax.random.clone(key), D)
    chosen = np.asarray(evenly_spaced(images, len(starts)))
    match = matcher(source.model, replace(recipe, steps=steps, decay=True, copies=1))
    away = _away(source.model.apply, recipe.distance or losses.feature_distance)
    mesh = devices.own(env.mesh)
    key, params = devices.copy(mesh, (key, source.params))

    def measure(indices, starts, stored, x):
        _, before, long = match(key, params, indices, starts, x)
        return before, away(params, stored, x), long

    measured = devices.map_examples(
        measure,
        (chosen, starts[chosen], made.images[chosen], D.images[chosen % len(D.labels)]),
        batch_size=min(env.work.synthesis_batch, len(chosen)),
        mesh=mesh,
        tick=env.tick,
        shards=env.shards,
    )
    summaries = {
        name: {"mean": of.mean(), "median": np.median(of), "largest": of.max()}
        for name, of in zip(("start", "stored", "long"), measured, strict=True)
    }
    return {
        "images": len(chosen),
        "steps": steps,
        **{
            name: {part: float(value) for part, value in of.items()}
            for name, of in summaries.items()
        },
    }


@build.cached
def _away(apply: Any, distance: Any) -> Any:
    """The distance of features at images from those at others, compiled."""
    loss = distance(apply)
    return jax.jit(lambda params, images, x: loss(params, images, apply(params, x)[1]))
