"""The paper's data sets: D_R and D_NR by feature matching, D_rand and D_det by attack.

`robustify` and `mislabel` run over a whole data set; a compiled program from a `make_`
function is built once and serves any network of its architecture.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices
from nrf.attacks import example_keys
from nrf.losses import feature_distance
from nrf.types import (
    Apply,
    Attack,
    Dataset,
    Images,
    Key,
    Keys,
    Labels,
    Loss,
    Params,
    check_images,
    check_labels,
)


class Matched(NamedTuple):
    """D_R or D_NR: M = copies * N images for N originals."""

    images: np.ndarray  # [M, H, W, C]
    labels: np.ndarray  # [M] those of the images whose features were matched
    indices: np.ndarray  # [M] where these stand in the original set
    start_distance: np.ndarray  # [M] ‖g(start) − g(x)‖₂
    final_distance: np.ndarray  # [M] ‖g(image) − g(x)‖₂


class Mislabelled(NamedTuple):
    """D_rand or D_det."""

    images: np.ndarray  # [N, H, W, C]
    labels: np.ndarray  # [N] the targets
    reached: np.ndarray  # [N] whether the attacked network says the target


def random_targets(key: Key, labels: Labels, num_classes: int) -> Labels:
    """D_rand: uniform over all classes, the true one included (section 3.2)."""
    return jax.random.randint(key, labels.shape, 0, num_classes, jnp.int32)


def next_class(labels: Labels, num_classes: int) -> Labels:
    """D_det: t = (y + 1) mod K (section 3.2)."""
    return (labels + 1) % num_classes


def make_robustify(apply: Apply, attack_on: Callable[[Loss], Attack]) -> Callable:
    """Feature matching (section 3.1), compiled, for `robustify`.

    Args:
      apply: The network; its features are matched.
      attack_on: Makes the attack from the loss it climbs, e.g.
        lambda loss: pgd(loss, free(), steps=1000, step_size=0.1).
    """
    distance = feature_distance(apply)

    def closeness(params, x, features):
        return -distance(params, x, features)

    attack = attack_on(closeness)

    def match(key, params, indices, starts, x):
        features = apply(params, x).features
        images = attack(example_keys(key, indices), params, starts, features)
        before = distance(params, starts, features)
        return images, before, distance(params, images, features)

    return jax.jit(match)


def robustify(
    key: Key,
    match: Callable,
    params: Params,
    dataset: Dataset,
    *,
    start: Literal["image", "noise"] = "image",
    copies: int = 1,
    batch_size: int,
    mesh: Mesh,
    tick: Callable[[int], None] = lambda examples: None,
) -> Matched:
    """Images with the features of x as `params` sees them, started elsewhere.

    Called with a robust network it makes D_R, with a standard one D_NR (section 3.1).

    Args:
      match: From `make_robustify`.
      start: "image": another random image of the set, whatever its label; "noise":
        clip(0.5 + N(0, 1) / 20), the authors' library's start.
      copies: Times that every image is matched, each from another start.

    Raises:
      ValueError: images outside [0, 1]; fewer than two images to start from.
    """
    check_images(dataset.images)
    total = len(dataset.images)
    if start == "image" and total < 2:
        raise ValueError(f"starting at another image needs two or more, got {total}.")
    key_start, key_attack = jax.random.split(key)
    key_attack, params = devices.copy(mesh, (key_attack, params))
    runs = np.arange(copies * total)
    indices = runs % total
    if start == "image":
        # Uniform over the other N − 1 images: those from i on are moved up by one.
        others = np.asarray(
            jax.random.randint(key_start, (copies * total,), 0, total - 1)
        )
        others = others + (others >= indices)
        starts = dataset.images[others]
    else:
        shape = (copies * total, *dataset.images.shape[1:])
        noise = 0.5 + jax.random.normal(key_start, shape) / 20
        starts = np.clip(np.asarray(noise), 0, 1)
    images, before, after = devices.map_examples(
        lambda *batch: match(key_attack, params, *batch),
        (runs, starts, dataset.images[indices]),
        batch_size=batch_size,
        mesh=mesh,
        tick=tick,
    )
    return Matched(images, dataset.labels[indices], indices, before, after)


def make_mislabel(apply: Apply, attack: Attack) -> Callable:
    """A targeted attack (one that climbs a negated loss), compiled, for `mislabel`."""

    def perturb(key, params, indices, x, labels, targets) -> tuple[Images, jax.Array]:
        x_adv = attack(example_keys(key, indices), params, x, targets)
        return x_adv, jnp.argmax(apply(params, x_adv).logits, -1) == targets

    return jax.jit(perturb)


def make_isolate(apply: Apply, attack: Attack) -> Callable:
    """Like `make_mislabel`, with an attack that climbs a negated
    `losses.disentangled`: its params, and the pair (t, y)."""

    def perturb(key, params, indices, x, labels, targets) -> tuple[Images, jax.Array]:
        x_adv = attack(example_keys(key, indices), params, x, (targets, labels))
        return x_adv, jnp.argmax(apply(params["source"], x_adv).logits, -1) == targets

    return jax.jit(perturb)


def mislabel(
    key: Key,
    perturb: Callable,
    params: Params,
    dataset: Dataset,
    targets: np.ndarray,
    *,
    batch_size: int,
    mesh: Mesh,
    tick: Callable[[int], None] = lambda examples: None,
) -> Mislabelled:
    """Images pushed towards `targets` [N], and labelled so (section 3.2).

    Raises:
      ValueError: images outside [0, 1] or targets out of range.
    """
    check_images(dataset.images)
    check_labels(targets, dataset.num_classes)
    key, params = devices.copy(mesh, (key, params))
    images, reached = devices.map_examples(
        lambda *batch: perturb(key, params, *batch),
        (np.arange(len(targets)), dataset.images, dataset.labels, targets),
        batch_size=batch_size,
        mesh=mesh,
        tick=tick,
    )
    return Mislabelled(images, targets, reached)


@jax.jit
def random_push(keys: Keys, x: Images, lengths: jax.Array) -> Images:
    """Images moved in random directions, by the l2 norms `lengths` [B] after clipping.

    The control of D_rand and D_det: as long a perturbation that no network made. Where
    the valid pixels end before such a length, the image goes to their end.
    """

    def one(key, x, length):
        direction = jax.random.normal(key, x.shape, x.dtype)

        def moved(scale):
            return jnp.clip(x + scale * direction, 0, 1)

        def halve(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            far = jnp.sqrt(jnp.sum((moved(middle) - x) ** 2)) > length
            return jnp.where(far, low, middle), jnp.where(far, middle, high)

        # Clipping makes the norm a rising function of the scale without a closed form.
        # At this one every pixel is at its end, unless its direction is below 1e-3.
        ends = jnp.zeros((), x.dtype), jnp.full((), 1e3, x.dtype)
        return moved(jax.lax.fori_loop(0, 50, halve, ends)[0])

    return jax.vmap(one)(keys, x, lengths)
