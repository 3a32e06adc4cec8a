"""The paper's data sets: D_R and D_NR by feature matching, D_rand and D_det by attack.

    D, key = Dataset(x, y, names), jax.random.key(0)
    match = synthesize.make_robustify(
        apply, lambda loss: attacks.pgd(loss, attacks.free(), steps=1000, step_size=0.1)
    )
    D_R = synthesize.robustify(key, match, robust_params, D)
    towards = losses.negate(losses.cross_entropy(apply))
    push = attacks.pgd(towards, attacks.l2(0.5), steps=100, step_size=0.1)
    perturb = synthesize.make_mislabel(apply, push)
    targets = synthesize.next_class(y, len(names))
    D_det = synthesize.mislabel(key, perturb, standard_params, D, targets)

`robustify` and `mislabel` run over a whole data set; a compiled program from a `make_`
function is built once and serves any network of its architecture. Networks may return
plain logits, which are then their features.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nrf import devices
from nrf.attacks import example_keys
from nrf.attacks.inputs import check_count
from nrf.data.noise import Noise
from nrf.losses import feature_distance, negate
from nrf.rows import Lazy, Rows, cast, held
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
    check_dataset,
    check_key,
    check_labels,
    outputs,
)

_BATCH = 500  # Images at once, where nothing else is asked for.


class Matched(NamedTuple):
    """D_R or D_NR: M = copies * N images for N originals."""

    images: np.ndarray  # [M, H, W, C]
    labels: np.ndarray  # [M] those of the images whose features were matched
    indices: np.ndarray  # [M] where these stand in the original set
    # [M] ‖g(start) − g(x)‖₂ and ‖g(image) − g(x)‖₂, or another distance of features.
    start_distance: np.ndarray
    final_distance: np.ndarray


class Mislabelled(NamedTuple):
    """D_rand or D_det."""

    images: np.ndarray  # [N, H, W, C]
    labels: np.ndarray  # [N] the targets
    reached: np.ndarray  # [N] whether the attacked network predicts the target


def random_targets(key: Key, labels: Labels, num_classes: int) -> Labels:
    """D_rand: uniform over all classes, the true one included (section 3.2)."""
    check_key(key)
    return jax.random.randint(key, labels.shape, 0, num_classes, jnp.int32)


def next_class(labels: Labels, num_classes: int) -> Labels:
    """D_det: t = (y + 1) mod K (section 3.2)."""
    return (labels + 1) % num_classes


def make_robustify(
    apply: Callable[[Params, Images], Any],
    attack_on: Callable[[Loss], Attack],
    *,
    distance: Callable[[Apply], Loss] = feature_distance,
) -> Callable:
    """Feature matching (section 3.1), compiled, for `robustify`.

    Args:
      apply: The network; its features are matched.
      attack_on: Makes the attack from the loss it climbs, e.g.
        lambda loss: pgd(loss, free(), steps=1000, step_size=0.1).
      distance: Makes, of `apply`, what is to become small: the distance of the features
        at (params, x) from given features [B, D], one value for each image.
    """
    apply = outputs(apply)
    away = distance(apply)
    attack = attack_on(negate(away))

    def match(key, params, indices, starts, x):
        features = apply(params, x).features
        images = attack(example_keys(key, indices), params, starts, features)
        before = away(params, starts, features)
        return images, before, away(params, images, features)

    return jax.jit(match)


def robustify(
    key: Key,
    match: Callable,
    params: Params,
    dataset: Dataset,
    *,
    start: Literal["image", "noise"] = "image",
    copies: int = 1,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    shards: devices.Shards | None = None,
) -> Matched:
    """Images with the features of x as `params` sees them, started elsewhere.

    Called with a robust network it makes D_R, with a standard one D_NR (section 3.1).

    Args:
      match: From `make_robustify`.
      start: "image": another random image of the set, whatever its label; "noise":
        clip(0.5 + N(0, 1) / 20), the authors' library's start.
      copies: Times that every image is matched, each from another start.
      batch_size: Images at once; by default 500, or fewer if there are.
      mesh: The devices, from `devices.make_mesh`; all of them by default.
      tick: Called with the number of newly finished examples.
      shards: What is kept of an interrupted call; see `devices.map_examples`.

    Raises:
      ValueError: bad images or labels, another `start`, no copies, or fewer than two
        images to start from.
    """
    dataset = _checked(dataset)
    total = len(dataset.images)
    mesh = devices.own(mesh or devices.make_mesh())
    starts = matching_starts(jax.random.clone(key), dataset.images, start, copies)
    _, key_attack = jax.random.split(key)
    key_attack, params = devices.copy(mesh, (key_attack, params))
    runs = np.arange(copies * total)
    indices = runs % total
    images, before, after = devices.map_examples(
        lambda *batch: match(key_attack, params, *batch),
        (runs, starts, Rows(dataset.images, indices)),
        batch_size=_batch_size(batch_size, len(runs)),
        mesh=mesh,
        tick=tick,
        shards=shards,
    )
    return Matched(images, dataset.labels[indices], indices, before, after)


def matching_starts(
    key: Key, images: np.ndarray, start: Literal["image", "noise"], copies: int = 1
) -> Lazy:
    """[copies * N, H, W, C] where `robustify`, called with this key, starts.

    Its rows are read, or drawn, when they are asked for.

    Raises:
      ValueError: as `robustify`.
    """
    check_key(key)
    if start not in ("image", "noise"):
        raise ValueError(f"start must be 'image' or 'noise', got {start!r}.")
    if start == "image" and len(images) < 2:
        raise ValueError(
            f"starting at another image needs two or more, got {len(images)}."
        )
    check_count("copies", copies)
    key, _ = jax.random.split(key)
    indices = np.arange(copies * len(images)) % len(images)
    if start == "noise":
        return Noise(key, (len(indices), *images.shape[1:]))
    # Uniform over the other N − 1 images: those from i on are moved up by one.
    drawn = jax.random.randint(key, indices.shape, 0, len(images) - 1, jnp.int32)
    others = np.asarray(drawn)
    return Rows(images, others + (others >= indices))


def make_mislabel(apply: Callable[[Params, Images], Any], attack: Attack) -> Callable:
    """A targeted attack (one that climbs a negated loss), compiled, for `mislabel`."""
    apply = outputs(apply)

    def perturb(key, params, indices, x, labels, targets) -> tuple[Images, jax.Array]:
        x_adv = attack(example_keys(key, indices), params, x, targets)
        return x_adv, jnp.argmax(apply(params, x_adv).logits, -1) == targets

    return jax.jit(perturb)


def make_isolate(apply: Callable[[Params, Images], Any], attack: Attack) -> Callable:
    """Like `make_mislabel`, with an attack that climbs a negated
    `losses.disentangled`: its params, and the pair (t, y)."""
    apply = outputs(apply)

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
    batch_size: int | None = None,
    mesh: Mesh | None = None,
    tick: Callable[[int], None] = lambda examples: None,
    shards: devices.Shards | None = None,
) -> Mislabelled:
    """Images pushed towards `targets` [N], and labelled so (section 3.2).

    Args:
      perturb: From `make_mislabel` or `make_isolate`.
      targets: One for each image, from `random_targets`, `next_class` or elsewhere.
      batch_size, mesh, tick, shards: As of `robustify`.

    Raises:
      ValueError: bad images or labels; targets out of range, or another number of them.
    """
    dataset, targets = _checked(dataset), np.asarray(targets)
    if targets.shape != dataset.labels.shape:
        raise ValueError(
            f"targets must be [{len(dataset.labels)}], one for each image, got shape "
            f"{targets.shape}."
        )
    check_labels(targets, dataset.num_classes)
    mesh = devices.own(mesh or devices.make_mesh())
    key, params = devices.copy(mesh, (key, params))
    images, reached = devices.map_examples(
        lambda *batch: perturb(key, params, *batch),
        (np.arange(len(targets)), dataset.images, dataset.labels, targets),
        batch_size=_batch_size(batch_size, len(targets)),
        mesh=mesh,
        tick=tick,
        shards=shards,
    )
    return Mislabelled(images, targets, reached)


def _checked(dataset: Dataset) -> Dataset:
    """The data set in float32, if its images and labels are valid."""
    images, labels = held(dataset.images), np.asarray(dataset.labels)
    check_dataset(Dataset(images, labels, dataset.names))
    return Dataset(cast(images, np.float32), labels, dataset.names)


def _batch_size(asked: int | None, total: int) -> int:
    """What is asked for; or as many as there are, up to `_BATCH`."""
    if asked is None:
        return min(_BATCH, total)
    check_count("batch_size", asked)
    return asked


@jax.jit
def random_push(keys: Keys, x: Images, lengths: jax.Array) -> Images:
    """Images moved in random directions, by the l2 norms `lengths` [B] after clipping.

    The control of D_rand and D_det: as long a perturbation that no network made. Where
    the valid pixels end before such a length, the image goes to their end.
    """

    def one(key, x, length):
        direction = jax.random.normal(key, x.shape, jnp.float32).astype(x.dtype)

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
