"""Linear features in the plane of robustness and usefulness, and two that mislead.

    train, test = data.load("digits")
    goh = features.plane(train, test, classes=(3, 8), epsilon=0.5)
    goh["ensemble"]["test"]  # {"robustness", "rho", "rho_low", ..., "gamma_high"}

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
"""

from typing import Any, NamedTuple

import numpy as np

from nrf.features.directions import (
    Directions,
    containment,
    ensemble,
    frontier,
    principal,
)
from nrf.features.estimate import Estimate, check_epsilon, gamma, rho
from nrf.features.extremes import linear, linear_extremes
from nrf.features.measure import VERDICTS, judge
from nrf.types import Dataset, check_dataset

# Directions measured at once; all of them would need ten times the images' memory.
_CHUNK = 256


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

      - classes, epsilon, useful, pixels, images {"train", "test"}: what was asked.
      - limit: ‖m‖₂, the radius beyond which no linear feature is robust.
      - directions: [{point with intervals, "verdict"}], by falling robustness.
      - frontier: [{"train": point, "test": point}], by rising robustness.
      - ensemble: None where no direction has robustness ε or less, or else
        {"members": how many of the last directions, "best_member": the largest ρ of
        one, "train": point, "test": point with intervals, "verdict": on test}.
      - containment: None where no direction is robustly useful or none has robustness ε
        or less, or else {"robust", "nonrobust": places in directions, "alpha",
        "train", "test", "verdict"}.

    Raises:
      ValueError: bad images, labels, classes or epsilon; a class without two examples;
        images that do not vary, or whose classes have the same mean.
    """
    on = _samples(train, test, classes, epsilon, useful)
    alone = on.alone()
    return {
        "classes": [train.names[k] for k in classes],
        "epsilon": epsilon,
        "useful": useful,
        "pixels": len(on.directions.centre),
        "images": {name: len(y) for name, (_, y) in on.sets.items()},
        "limit": float(np.linalg.norm(on.directions.mean)),
        "directions": alone,
        "frontier": on.frontier(),
        "ensemble": on.ensemble(alone),
        "containment": on.containment(alone),
    }


class _Samples(NamedTuple):
    """The images of both sets in coordinates z [N, P], with y [N], to measure on."""

    sets: dict[str, tuple[np.ndarray, np.ndarray]]  # "train" and "test".
    directions: Directions
    epsilon: float
    useful: float

    def place(self, c: np.ndarray, on: str) -> list[dict[str, Any]]:
        """Where the features c [F, P] are in the plane."""
        return _points(c, *self.sets[on], self.epsilon, self.useful)

    def alone(self) -> list[dict[str, Any]]:
        """Where each direction is by itself, on the training images."""
        z, y = self.sets["train"]
        points = []
        for start in range(0, z.shape[1], _CHUNK):
            # In their own coordinates directions are unit vectors.
            own = z[:, start : start + _CHUNK]
            points += _points(np.eye(own.shape[1]), own, y, self.epsilon, self.useful)
        return points

    def frontier(self) -> list[dict[str, Any]]:
        edge = frontier(self.directions)
        points = zip(self.place(edge, "train"), self.place(edge, "test"), strict=True)
        return [{"train": _bare(a), "test": _bare(b)} for a, b in points]

    def ensemble(self, alone: list[dict[str, Any]]) -> dict[str, Any] | None:
        members = ensemble(self.directions, self.epsilon)
        inside = np.flatnonzero(members)
        if not len(inside):
            return None
        best = max(alone[i]["rho"] for i in inside)
        return self._made(members, members=len(inside), best_member=best)

    def containment(self, alone: list[dict[str, Any]]) -> dict[str, Any] | None:
        inside = np.flatnonzero(ensemble(self.directions, self.epsilon))
        robust = [i for i, p in enumerate(alone) if p["verdict"] == "robustly useful"]
        if not len(inside) or not robust:
            return None
        i = max(robust, key=lambda i: alone[i]["gamma"])
        j = int(min(inside, key=lambda j: alone[j]["rho"]))
        deviation = np.sqrt(self.directions.variance)
        alpha = float(deviation[j] / (deviation[j] + deviation[i]))
        c = containment(self.directions, j, i, alpha)
        return self._made(c, robust=i, nonrobust=j, alpha=alpha)

    def _made(self, c: np.ndarray, **of: Any) -> dict[str, Any]:
        """A feature c [P] made of several directions, on both sets; judged on test."""
        (here,), (there,) = self.place(c[None], "train"), self.place(c[None], "test")
        verdict = there.pop("verdict")
        return {**of, "train": _bare(here), "test": there, "verdict": verdict}


def _samples(train, test, classes, epsilon, useful) -> _Samples:
    """The arguments of `plane`, checked, in the training images' directions."""
    check_epsilon(epsilon, "l2")
    images, y = _two(train, classes, "training")
    test_images, test_y = _two(test, classes, "test")
    directions = principal(images, y)
    if test_images[0].size != len(directions.centre):
        raise ValueError(
            f"training images have {len(directions.centre)} pixels and test images "
            f"{test_images[0].size}; they must be alike."
        )
    sets = {
        "train": (directions.coordinates(images), y),
        "test": (directions.coordinates(test_images), test_y),
    }
    return _Samples(sets, directions, epsilon, useful)


def _two(dataset: Dataset, classes: tuple[int, int], which: str) -> tuple:
    """Images of two classes, and y [N] of ±1."""
    check_dataset(dataset)
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
    usefulness, _ = rho(values, *given)
    robust = gamma(values, linear_extremes(c, z, epsilon, "l2"), *given)
    verdicts = judge(usefulness, robust, robust, useful=useful)

    def ends_of(name: str, of: Estimate, i: int) -> dict[str, float]:
        names = (name, f"{name}_low", f"{name}_high")
        return {n: float(a[i, 0]) for n, a in zip(names, of, strict=True)}

    return [
        {
            "robustness": float(robustness[i]),
            **ends_of("rho", usefulness, i),
            **ends_of("gamma", robust, i),
            "verdict": VERDICTS[verdicts[i, 0]],
        }
        for i in range(len(c))
    ]


def _bare(point: dict[str, Any]) -> dict[str, float]:
    return {name: point[name] for name in ("robustness", "rho", "gamma")}
