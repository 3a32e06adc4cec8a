"""Linear features in the plane of robustness and usefulness, and two that mislead.

    train, test = data.load("digits")
    found = features.plane(train, test, classes=(3, 8), epsilon=0.5)
    found["ensemble"]["test"]  # {"robustness", "rho", "rho_low", ..., "gamma_high"}

After Goh's response (https://distill.pub/2019/advex-bugs-discussion/response-3/), for
two classes, y = ±1, and ℓ2. Both classes weigh the same, as in `nrf.features.rho`. Of
centred pixels x, with Σ = E xxᵀ and m = E yx, the linear feature aᵀx / ‖a‖_Σ,
‖a‖_Σ² = aᵀΣa, has

    usefulness  ρ = aᵀm / ‖a‖_Σ
    robustness  r = ‖a‖_Σ / ‖a‖₂, the standard deviation of pixels along a
    and exactly γ(ε) = ρ − ε / r

Two things follow. γ(ε) ‖a‖_Σ = aᵀm − ε‖a‖₂ is at most (‖m‖₂ − ε)‖a‖₂, which a = m
reaches: beyond ε = ‖m‖₂, half the distance of the mean images, no linear feature is
robust. And since ρ ≤ 1, a feature of r ≤ ε is not robust, however useful.

Features are given by coordinates c [P] in the principal directions: a = Σᵢ cᵢ aᵢ.
"""

from typing import Any, NamedTuple

import numpy as np

from nrf.features.estimate import Estimate, Extremes, check_epsilon, gamma
from nrf.features.extremes import linear, linear_extremes
from nrf.features.measure import VERDICTS, judge
from nrf.types import Dataset, check_images, check_labels

# Pixels are float32 in [0, 1]: what varies less than this is their rounding.
_ROUNDING = 1e-6
# Directions measured at once; all of them would need ten times the images' memory.
_CHUNK = 256


class Directions(NamedTuple):
    """P principal directions of two classes' images, by falling variance."""

    centre: np.ndarray  # [D] the middle of the two mean images.
    a: np.ndarray  # [P, D] orthonormal, each of the sign that makes it useful.
    mean: np.ndarray  # [P] E[y aᵀx], at least 0: m in these coordinates.
    variance: np.ndarray  # [P] E[(aᵀx)²], above 0: Σ is diagonal in them.

    def coordinates(self, images: np.ndarray) -> np.ndarray:
        """[N, P] aᵀx of images, in float64."""
        x = images.reshape(len(images), -1) - self.centre
        return np.asarray(linear(self.a, x))


def principal(images: np.ndarray, y: np.ndarray) -> Directions:
    """The directions in which `images` [N, H, W, C] with y [N] of ±1 vary.

    P is at most D and at most N − 1. For 10,000 images of CIFAR-10 this takes 20 s on
    two CPU cores and 1 GB: two copies of the images and four [D, D], in float64.

    Raises:
      ValueError: all pixels are constant, or both classes have the same mean image, so
        that no linear feature is useful.
    """
    x = images.reshape(len(images), -1).astype(np.float64)
    weight = 0.5 / np.where(y > 0, (y > 0).sum(), (y < 0).sum())
    centre = weight @ x
    x -= centre
    signal = (weight * y) @ x
    x *= np.sqrt(weight)[:, None]
    variance, a = np.linalg.eigh(x.T @ x)
    kept = np.flatnonzero(variance > _ROUNDING**2)[::-1]
    if not len(kept):
        raise ValueError("all pixels are constant; there is no direction to measure.")
    if np.linalg.norm(signal) <= _ROUNDING:
        raise ValueError(
            "both classes have the same mean image; no linear feature is useful."
        )
    a = a.T[kept]
    mean = a @ signal
    return Directions(
        centre, a * np.where(mean < 0, -1, 1)[:, None], np.abs(mean), variance[kept]
    )


def ensemble(directions: Directions, epsilon: float) -> np.ndarray:
    """c [P] of Σ aᵢ over the directions of robustness ε or less, each of its sign.

    ε is the threshold that needs no choice: in their span r ≤ ε for all features, so
    that none is robust at ε, the sum included, however useful it becomes. Of directions
    with γ(ε) ≤ 0 alone this is not true: two of r > ε can add up to a robust one.
    """
    return (np.sqrt(directions.variance) <= epsilon).astype(float)


def containment(
    directions: Directions, nonrobust: int, robust: int, alpha: float
) -> np.ndarray:
    """c [P] of (1 − α) a_nonrobust + α a_robust, of the directions so numbered.

    Where a_nonrobust is useless, this is useful because of a_robust and not robust
    because of a_nonrobust: a useful non-robust feature, made of none.

    Raises:
      ValueError: alpha is not in 0 .. 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in 0 .. 1, got {alpha}.")
    numbers = np.arange(len(directions.mean))
    return (1 - alpha) * (numbers == nonrobust) + alpha * (numbers == robust)


def frontier(directions: Directions, points: int = 30) -> np.ndarray:
    """c [2 points + 2, P]: the most useful of all features as robust, by rising r.

    These are a = (Σ + τI)⁻¹m. At τ = 0 it is the most useful feature of all; at τ = ∞
    it is m. More robust ones come after m, and have τ from −∞ to minus the largest
    variance, where a is the first direction, the most robust of all.

    Why: let M = (1 − w)Σ + w s I with w > 0 and s the largest variance, so that M is
    positive definite, and let a = M⁻¹m, of robustness r. With κ = w s / (w s + r²(1 −
    w)), which is positive, M ∝ Σ − κ(Σ − r²I). Among all b of bᵀm = aᵀm, a has the
    least bᵀMb, and b as robust as r have bᵀ(Σ − r²I)b ≥ 0 = aᵀ(Σ − r²I)a. So
    bᵀΣb ≥ aᵀΣa: b is no more useful. τ is w s / (1 − w).
    """
    share = directions.variance / directions.variance[0]
    to_m = np.geomspace(share[-1] / 100, 1, points)
    beyond = 1 + np.geomspace(0.01, 1e3, points)
    w = np.concatenate([[0], to_m, beyond])[:, None]
    first = np.arange(len(share)) == 0
    return np.vstack([directions.mean / (share + w * (1 - share)), first])


def plane(
    train: Dataset,
    test: Dataset,
    *,
    classes: tuple[int, int],
    epsilon: float,
    useful: float = 0.1,
) -> dict[str, Any]:
    """Goh's figure as numbers: directions, frontier, ensemble and containment.

    Everything is made of the training images, and placed in the plane on them: there
    the frontier is exact. But signs and frontier have been fitted to their labels, and
    many faint directions together fit noise: what is made of several directions is
    measured on the test images as well, where it has intervals. The ensemble of frogs
    against trucks, at ε = 0.25, has ρ = 0.16 on the 10,000 training images, and
    0.03 ± 0.04 on 2,000 test images (of a copy of CIFAR-10 re-encoded as JPEG).

    The containment has the least useful direction of robustness ε or less and the
    direction of largest γ among those robustly useful. Half of its variance is of each,
    so that α is σ / (σ + σ_robust).

    Args:
      train, test: Of the same classes; others than these two are left out.
      classes: Their labels; which is first changes no number.
      epsilon: The ℓ2 radius, of pixels in [0, 1].
      useful: As in `nrf.features.judge`.

    Returns:
      What JSON can hold, with points {"robustness", "rho", "gamma"}, those measured
      with intervals also {"rho_low", "rho_high", "gamma_low", "gamma_high"}:

      classes, epsilon, useful, pixels, images {"train", "test"}: what was asked.
      limit: ‖m‖₂, the radius beyond which no linear feature is robust.
      directions: [{point with intervals, "verdict"}], by falling robustness.
      frontier: [{"train": point, "test": point}], by rising robustness.
      ensemble: None where no direction has robustness ε or less, or else
        {"members": how many of the last directions, "best_member": the largest ρ of
        one, "train": point, "test": point with intervals, "verdict": on test}.
      containment: None where no direction is robustly useful or none has robustness ε
        or less, or else {"robust", "nonrobust": places in directions, "alpha",
        "train", "test", "verdict"}.

    Raises:
      ValueError: bad images, labels, classes or epsilon; a class without two examples;
        images that do not vary, or whose classes have the same mean.
    """
    check_epsilon(epsilon, "l2")
    images, y = _two(train, classes, "training")
    directions = principal(images, y)
    measured = {"train": (directions.coordinates(images), y)}
    images, y = _two(test, classes, "test")
    if images[0].size != len(directions.centre):
        raise ValueError(
            f"training images have {len(directions.centre)} pixels and test images "
            f"{images[0].size}; they must be alike."
        )
    measured["test"] = directions.coordinates(images), y

    def place(c: np.ndarray, on: str) -> list[dict[str, Any]]:
        return _points(c, *measured[on], epsilon, useful)

    alone = []
    z, y = measured["train"]
    for start in range(0, z.shape[1], _CHUNK):
        # In their own coordinates directions are unit vectors.
        own = z[:, start : start + _CHUNK]
        alone += _points(np.eye(own.shape[1]), own, y, epsilon, useful)

    def made(c: np.ndarray, **of: Any) -> dict[str, Any]:
        (here,), (there,) = place(c[None], "train"), place(c[None], "test")
        verdict = there.pop("verdict")
        return {**of, "train": _bare(here), "test": there, "verdict": verdict}

    members = ensemble(directions, epsilon)
    inside = np.flatnonzero(members)
    robust = [i for i, one in enumerate(alone) if one["verdict"] == "robustly useful"]
    found: dict[str, Any] = {"ensemble": None, "containment": None}
    if len(inside):
        best = max(alone[i]["rho"] for i in inside)
        found["ensemble"] = made(members, members=len(inside), best_member=best)
    if len(inside) and robust:
        i = max(robust, key=lambda i: alone[i]["gamma"])
        j = int(min(inside, key=lambda j: alone[j]["rho"]))
        deviation = np.sqrt(directions.variance)
        alpha = float(deviation[j] / (deviation[j] + deviation[i]))
        c = containment(directions, j, i, alpha)
        found["containment"] = made(c, robust=i, nonrobust=j, alpha=alpha)
    edge = frontier(directions)
    return {
        "classes": [train.names[k] for k in classes],
        "epsilon": epsilon,
        "useful": useful,
        "pixels": len(directions.centre),
        "images": {name: len(y) for name, (_, y) in measured.items()},
        "limit": float(np.linalg.norm(directions.mean)),
        "directions": alone,
        "frontier": [
            {"train": _bare(here), "test": _bare(there)}
            for here, there in zip(
                place(edge, "train"), place(edge, "test"), strict=True
            )
        ],
        **found,
    }


def _two(dataset: Dataset, classes: tuple[int, int], which: str) -> tuple:
    """Images of two classes, and y [N] of ±1."""
    check_images(dataset.images)
    check_labels(dataset.labels, dataset.num_classes)
    if len(set(classes)) != 2 or len(classes) != 2:
        raise ValueError(f"classes must be two different labels, got {classes}.")
    if not set(classes) <= set(range(dataset.num_classes)):
        raise ValueError(
            f"classes must be in 0 .. {dataset.num_classes - 1}, got {classes}."
        )
    for k in classes:
        count = int((dataset.labels == k).sum())
        if count < 2:
            raise ValueError(
                f"{count} of the {which} images are of class {dataset.names[k]}; two "
                "are needed at least."
            )
    rows = np.isin(dataset.labels, classes)
    y = np.where(dataset.labels[rows] == classes[1], 1, -1)
    return dataset.images[rows], y


def _points(
    c: np.ndarray, z: np.ndarray, y: np.ndarray, epsilon: float, useful: float
) -> list[dict[str, Any]]:
    """The features c [F, P] in the plane, measured on coordinates z [N, P]."""
    c = c / np.linalg.norm(c, axis=1, keepdims=True)
    values = linear(c, z)
    ends = np.stack([values[y > 0].mean(0), values[y < 0].mean(0)])
    spread = [values[y == sign].var(0) for sign in (1, -1)]
    robustness = np.sqrt(np.mean(spread, 0) + ends.var(0))
    # Signs were chosen on the training images, and stay as they are.
    given = y[:, None].astype(np.float32), np.ones((len(c), 1), np.float32)
    rho = gamma(values, Extremes(values, values), *given)
    robust = gamma(values, linear_extremes(c, z, epsilon, "l2"), *given)
    verdicts = judge(rho, robust, robust, useful=useful)

    def ends_of(name: str, of: Estimate, i: int) -> dict[str, float]:
        names = (name, f"{name}_low", f"{name}_high")
        return {n: float(a[i, 0]) for n, a in zip(names, of, strict=True)}

    rho, robust = (Estimate(*map(np.asarray, of)) for of in (rho, robust))
    return [
        {
            "robustness": float(robustness[i]),
            **ends_of("rho", rho, i),
            **ends_of("gamma", robust, i),
            "verdict": VERDICTS[verdicts[i, 0]],
        }
        for i in range(len(c))
    ]


def _bare(point: dict[str, Any]) -> dict[str, float]:
    return {name: point[name] for name in ("robustness", "rho", "gamma")}
