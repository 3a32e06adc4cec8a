"""What a run saved, read back and grouped: networks, ways of measuring, accuracies."""

import json
import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nrf.evaluate import Score
from nrf.evaluate.statistics import unpack
from nrf.report import marks

Results = dict[str, Any]  # The content of results.json.
NEEDED = ("data", "classes", "networks", "rows")
AUTOATTACK = "AutoAttack"
NETWORK = "network"  # The learner that the experiment is of, beside its students.


class Network(NamedTuple):
    """An entry of a run's list of networks."""

    name: str  # "standard", "robust", "on_D_R", ...
    title: str  # What readers call it.
    trained_on: str  # "D", "D_R", ...
    training: str  # "standard" or "adversarial".
    place: int  # In the list, from 0; colours follow it.
    learner: str = NETWORK  # Or a student's name.


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
        strong = ", AutoAttack" if self.attack == AUTOATTACK else ""
        return f"ε = {radius(self.norm, self.epsilon)}{strong}"

    @property
    def setting(self) -> str:
        """The attack without its radius: "PGD, ℓ₂, 100 steps"."""
        name = self.attack.replace("pgd", "PGD")
        steps = f", {self.steps} steps" if self.steps else ""
        return f"{name}, {norm_name(self.norm)}{steps}"

    def address(self, network: str, on: str = "test") -> str:
        """Where a page has the evidence of a network's accuracy on a set."""
        parts = network, on, self.attack, f"{self.epsilon:g}", str(self.steps)
        return re.sub(r"[^\w.]+", "-", "-".join(("evidence", *parts)))


CLEAN = Column()


class Measure(NamedTuple):
    """The accuracy of one network, measured on the same `images` in every seed."""

    by_seed: dict[int, float]
    images: int
    wrong: tuple[str, ...] | None = None  # Findings of its evidence; None: it has none.
    remarks: tuple[str, ...] = ()  # What its evidence leaves open, in sentences.
    # Which images are right, by seed, as `nrf.evaluate.statistics.pack` has them; None
    # where that was not saved.
    packed: dict[int, str] | None = None
    seen: tuple[marks.Seen, ...] = ()  # The evidence itself.
    address: str = ""  # Where a page says what the evidence is.

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

    def right(self, seeds: Iterable[int]) -> np.ndarray | None:
        """[S, N] bool: which images are right, in these seeds; None: not saved."""
        if self.packed is None:
            return None
        return np.stack([unpack(self.packed[seed], self.images) for seed in seeds])


Cells = dict[Column, Measure]
Measures = dict[Network, Cells]


def read(path: Path, needed: Iterable[str], made_by: str) -> Results:
    """The content of a run's JSON file; `made_by` is the command that makes it.

    Raises:
      ValueError: there is none, it is not JSON, or it lacks something of `needed`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"there is no {path}, so there is nothing to report; "
            f"`{made_by} --out {path.parent}` makes one."
        )
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if missing := [name for name in needed if not results.get(name)]:
        raise ValueError(
            f"{path} has no {', '.join(missing)}; was it made by `{made_by}`?"
        )
    return results


def load(out: Path) -> Results:
    """The results of the run in the folder `out`; raises ValueError as `read`."""
    command = "nrf run digits"
    return read(Path(out) / "results.json", NEEDED, command)


def networks(results: Results) -> dict[str, Network]:
    """The networks of a run by name, in the order of its list."""
    return {
        one["name"]: Network(
            one["name"],
            one.get("title") or one["name"],
            one["trained_on"],
            one["training"],
            place,
            one.get("learner") or NETWORK,
        )
        for place, one in enumerate(results["networks"])
    }


def measures(results: Results, part: str = "rows") -> Measures:
    """The networks of the main experiment, or another part of a run, as `grouped`.

    Where AutoAttack was run too, its findings about PGD are among those of the rows,
    and what it leaves open of PGD is what is left open.
    """
    groups = grouped(results, part)
    for network, entries in by_network(results, "autoattack").items():
        at, cells = (entries[0]["norm"], entries[0]["epsilon"]), groups.get(network, {})
        # Of the experiment's own PGD, whatever it climbs.
        for column in main_attack({network: cells}):
            if (column.norm, column.epsilon) == at:
                measure = cells[column]
                of_pgd = marks.seen((e["seed"], e["evidence"]["pgd"]) for e in entries)
                both = (*measure.seen, *of_pgd)
                cells[column] = measure._replace(
                    wrong=marks.wrong(both), remarks=marks.left_open(of_pgd), seen=both
                )
    return groups


def by_network(results: Results, part: str) -> dict[Network, list[dict[str, Any]]]:
    """The entries of a part of the results by network, in the order of the list.

    Raises:
      ValueError: an entry is of a network that the list does not have.
    """
    known = networks(results)
    groups: dict[Network, list[dict[str, Any]]] = {n: [] for n in known.values()}
    for entry in results.get(part) or []:
        if (name := entry["network"]) not in known:
            raise ValueError(
                f"an entry of {part} is of the network {name!r}, but the list of "
                f"networks has only {', '.join(known)}."
            )
        groups[known[name]].append(entry)
    return {network: of for network, of in groups.items() if of}


def find(
    groups: Measures,
    trained_on: str,
    training: str = "standard",
    learner: str = NETWORK,
) -> Cells:
    """The accuracies of the first network that was trained so; {} without one."""
    for network, cells in groups.items():
        asked = trained_on, training, learner
        if (network.trained_on, network.training, network.learner) == asked:
            return cells
    return {}


def grouped(results: Results, part: str, on: str = "test") -> Measures:
    """The rows of a part of the results that were measured on the set `on`.

    They are grouped by network, in the order of the list, and by way of measuring.

    Raises:
      ValueError: a measurement occurs twice, or its seeds used different images.
    """
    groups: Measures = {}
    for network, rows in by_network(results, part).items():
        cells: dict[Column, list[Mapping[str, Any]]] = {}
        for row in rows:
            if row["tested_on"] == on:
                at = Column(row["attack"], row["norm"], row["epsilon"], row["steps"])
                cells.setdefault(at, []).append(row)
        if cells:
            groups[network] = {
                at: _measure(f"{network.title} at {at.label}", of)._replace(
                    address=at.address(network.name, on)
                )
                for at, of in cells.items()
            }
    return groups


def _measure(what: str, rows: list[Mapping[str, Any]]) -> Measure:
    total = rows[0]["total"]
    by_seed: dict[int, float] = {}
    for row in rows:
        if row["seed"] in by_seed:
            raise ValueError(f"seed {row['seed']} of {what} occurs twice in the rows.")
        if row["total"] != total:
            raise ValueError(
                f"{what} was measured on {total} images in one seed and on "
                f"{row['total']} in another; seeds must share their test images."
            )
        by_seed[row["seed"]] = row["correct"] / total
    seen = marks.seen((r["seed"], r["evidence"]) for r in rows if "evidence" in r)
    packed = {row["seed"]: row["right"] for row in rows if "right" in row}
    for row in rows:
        if "right" in row and unpack(row["right"], total).sum() != row["correct"]:
            raise ValueError(
                f"{what} has {row['correct']} right images in seed {row['seed']}, and "
                "its list of them has another number; the results are damaged."
            )
    return Measure(
        dict(sorted(by_seed.items())),
        total,
        marks.wrong(seen) if seen else None,
        marks.left_open(seen),
        packed if len(packed) == len(rows) else None,
        seen,
    )


def columns(groups: Measures) -> list[Column]:
    """Every way of measuring: without attack first, then by norm, attack and radius."""
    return sorted(
        {column for cells in groups.values() for column in cells},
        key=lambda c: (c.attack != "none", c.norm or "", c.attack, c.epsilon, c.steps),
    )


def main_attack(groups: Measures) -> list[Column]:
    """The columns of the attack with most radii, by radius; [] without attacks."""
    attacks: dict[str, list[Column]] = {}
    for column in columns(groups):
        if column.attack not in ("none", AUTOATTACK):
            attacks.setdefault(column.setting, []).append(column)
    return max(attacks.values(), key=len, default=[])


def reported(results: Results, groups: Measures) -> Column | None:
    """The column that verdicts are given at: chosen by the config, not by results."""
    attack, epsilon = main_attack(groups), results.get("reported_epsilon")
    if not attack or epsilon is None:
        return None
    return min(attack, key=lambda column: abs(column.epsilon - epsilon))


def radius(norm: str | None, epsilon: float) -> str:
    """0.25, or 8/255 for a whole number of grey levels in ℓ∞."""
    levels = epsilon * 255
    whole = round(levels) >= 1 and abs(levels - round(levels)) < 1e-4
    return f"{round(levels)}/255" if norm == "linf" and whole else f"{epsilon:g}"


def norm_name(norm: str | None) -> str:
    """ℓ₂ or ℓ∞."""
    return {"l2": "ℓ₂", "linf": "ℓ∞"}.get(norm or "", norm or "")


def ball(norm: str, epsilon: float) -> str:
    """The ball of an attack: "ℓ₂, ε = 0.5"."""
    return f"{norm_name(norm)}, ε = {radius(norm, epsilon)}"
