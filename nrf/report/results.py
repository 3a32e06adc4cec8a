"""What a run saved, read back and grouped: networks, ways of measuring, accuracies."""

import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nrf.evaluate import Evidence, Score

Results = dict[str, Any]  # The content of results.json.
NEEDED = ("data", "classes", "rows")

# Sets beside the paper's four, by their names in rows.
LABELS = {
    "D_R_noise": "D_R, from noise",
    "D_NR_noise": "D_NR, from noise",
    "D_rand_robust": "D_rand, robust source",
    "D_det_robust": "D_det, robust source",
    "D_rand_shaken": "D_rand, random push",
    "D_det_shaken": "D_det, random push",
    "D_errors": "errors of a network",
    "D_bugs": "D_det, others unmoved",
}


class Network(NamedTuple):
    """A data set and how a network was trained on it."""

    trained_on: str  # "D", "D_R", ...
    training: str  # "standard" or "adversarial".

    @property
    def label(self) -> str:
        if self.training == "standard" and self.trained_on != "D":
            return LABELS.get(self.trained_on, self.trained_on)
        return f"{self.trained_on}, {self.training}"


STANDARD = Network("D", "standard")
ADVERSARIAL = Network("D", "adversarial")
# The paper's order; networks that it does not have come after these.
KNOWN = (STANDARD, ADVERSARIAL) + tuple(
    Network(name, "standard") for name in ("D_R", "D_NR", "D_rand", "D_det")
)


class Column(NamedTuple):
    """A way of measuring accuracy; `epsilon` in [0, 1] pixels, 0 without an attack."""

    attack: str = "none"
    norm: str | None = None
    epsilon: float = 0.0
    steps: int = 0

    @property
    def label(self) -> str:
        if self.attack == "none":
            return "standard"
        return f"ε = {radius(self.norm, self.epsilon)}"

    @property
    def setting(self) -> str:
        """The attack without its radius: "PGD, ℓ₂, 100 steps"."""
        name = self.attack.replace("pgd", "PGD")
        return f"{name}, {norm_name(self.norm)}, {self.steps} steps"


CLEAN = Column()


class Measure(NamedTuple):
    """The accuracy of one network, measured on the same `images` in every seed."""

    by_seed: dict[int, float]
    images: int
    wrong: tuple[str, ...] | None = None  # Findings of its evidence; None: it has none.

    @property
    def mean(self) -> float:
        return statistics.fmean(self.by_seed.values())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the mean for n = `images`, however many seeds.

        Networks of different seeds err on the same images, so n must not be
        multiplied by the seeds; n = images is right if they err alike, and otherwise
        too wide. It speaks of other test images, not of other trainings: `spread` does.
        """
        return Score(round(self.mean * self.images), self.images).interval

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds (denominator n - 1), if there are two."""
        if len(self.by_seed) < 2:
            return None
        return statistics.stdev(self.by_seed.values())


Measures = dict[Network, dict[Column, Measure]]


def load(out: Path) -> Results:
    """The results of the run in the folder `out`.

    Raises:
      ValueError: there are none, or they cannot be read.
    """
    path = Path(out) / "results.json"
    if not path.is_file():
        raise ValueError(
            f"there is no {path}, so there is nothing to report; "
            f"`python scripts/run.py configs/digits.py --out {out}` makes one."
        )
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    missing = [name for name in NEEDED if not results.get(name)]
    if missing:
        raise ValueError(
            f"{path} has no {', '.join(missing)}; was it made by scripts/run.py?"
        )
    return results


def measures(results: Results) -> Measures:
    """The six networks of a run: its "rows", as `grouped` has them.

    Where AutoAttack was run too, its findings about PGD are among those of the rows.
    """
    groups = grouped(results["rows"])
    for entry in results.get("suite") or []:
        cells = groups.get(Network(entry["trained_on"], entry["training"]), {})
        at = entry["norm"], entry["epsilon"]
        for column, measure in cells.items():
            if (column.norm, column.epsilon) == at and column.attack == "pgd":
                names = [*(measure.wrong or ()), *findings(entry["evidence"]["pgd"])]
                cells[column] = measure._replace(wrong=tuple(dict.fromkeys(names)))
    return groups


def findings(evidence: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of all that is wrong with an accuracy, of its evidence in a results."""
    return tuple(found.name for found in Evidence.from_dict(evidence).findings)


def grouped(rows: Iterable[Mapping[str, Any]]) -> Measures:
    """Rows grouped by network, in the paper's order, and by way of measuring.

    Raises:
      ValueError: a measurement occurs twice, or its seeds used different images.
    """
    correct: dict[tuple[Network, Column], dict[int, float]] = {}
    images: dict[tuple[Network, Column], int] = {}
    wrong: dict[tuple[Network, Column], dict[str, None]] = {}
    for row in rows:
        network = Network(row["trained_on"], row["training"])
        column = Column(row["attack"], row["norm"], row["epsilon"], row["steps"])
        cell = correct.setdefault((network, column), {})
        what = f"{network.label} at {column.label}"
        if row["seed"] in cell:
            raise ValueError(f"seed {row['seed']} of {what} occurs twice in the rows.")
        if images.setdefault((network, column), row["total"]) != row["total"]:
            raise ValueError(
                f"{what} was measured on {images[network, column]} images in one seed "
                f"and on {row['total']} in another; seeds must share their test images."
            )
        cell[row["seed"]] = row["correct"] / row["total"]
        if "evidence" in row:
            names = wrong.setdefault((network, column), {})
            names.update(dict.fromkeys(findings(row["evidence"])))
    found = list(dict.fromkeys(network for network, _ in correct))
    order = [n for n in KNOWN if n in found] + [n for n in found if n not in KNOWN]
    return {
        network: {
            column: Measure(
                dict(sorted(cell.items())),
                images[network, column],
                tuple(wrong[network, column]) if (network, column) in wrong else None,
            )
            for (of, column), cell in correct.items()
            if of == network
        }
        for network in order
    }


def columns(groups: Measures) -> list[Column]:
    """Every way of measuring: without attack first, then by norm, attack and radius."""
    found = {column for cells in groups.values() for column in cells}
    return sorted(
        found, key=lambda c: (c.attack != "none", c.norm or "", c.attack, c.epsilon)
    )


def main_attack(groups: Measures) -> list[Column]:
    """The columns of the attack with most radii, by radius; [] without attacks."""
    series: dict[str, list[Column]] = {}
    for column in columns(groups):
        if column.attack != "none":
            series.setdefault(column.setting, []).append(column)
    return max(series.values(), key=len, default=[])


def headline(results: Results, groups: Measures) -> Column | None:
    """The radius that verdicts are given at: chosen by the config, not by results.

    As in the paper it is half the radius of adversarial training (the nearest one
    measured), and the smallest where there was no such training in the same norm.
    """
    candidates = main_attack(groups)
    if not candidates:
        return None
    trained = ((results.get("config") or {}).get("robust") or {}).get("attack") or {}
    half = trained["epsilon"] / 2 if trained.get("norm") == candidates[0].norm else 0
    return min(candidates, key=lambda column: abs(column.epsilon - half))


def radius(norm: str | None, epsilon: float) -> str:
    """0.25, or 8/255 for a whole number of grey levels in ℓ∞."""
    levels = epsilon * 255
    if norm == "linf" and round(levels) >= 1 and abs(levels - round(levels)) < 1e-4:
        return f"{round(levels)}/255"
    return f"{epsilon:g}"


def norm_name(norm: str | None) -> str:
    return {"l2": "ℓ₂", "linf": "ℓ∞"}.get(norm or "", norm or "")


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def bracket(measure: Measure) -> str:
    low, high = measure.interval
    return f"[{100 * low:.1f}, {100 * high:.1f}]"
