"""The linear controls on a page: the plane of linear features, and robust leakage."""

import statistics
from typing import Any

from nrf.report import charts, page
from nrf.report.charts import INK, PAPER
from nrf.report.features import VERDICTS
from nrf.report.results import Measure, Results, ball

# Goh's, of CIFAR-10 with its 10 features (response 2). Its page says "out of 88 %" of
# the first, which is the Restricted ImageNet's: CIFAR-10's D_rand has 63.3 %.
GOH = {"D_rand": 0.235, "D_det": 0.0681}
# How the two constructions are drawn, so that they differ from any direction.
_MARKS = {"ensemble": "*", "containment": "P"}
_LEAST = 1e-3  # Usefulness that is less is drawn at the edge.
_EDGES: tuple[tuple[str, Any, str], ...] = (
    ("train", "solid", "most useful, training"),
    ("test", (0, (4, 2)), "the same on test images"),
)


def planes(results: Results) -> str:
    """Linear features by robustness and usefulness; nothing where not measured."""
    return "".join(
        page.render(
            "plane.html",
            of=of,
            scatter=scatter(of),
            least=_LEAST,
        )
        for of in results.get("plane") or []
    )


def scatter(of: dict[str, Any]) -> str:
    """Robustness and usefulness on logarithmic axes."""
    directions = of["directions"]
    x = [one["robustness"] for one in directions]
    drawn = []
    for name, (color, marker) in VERDICTS.items():
        those = [one for one in directions if one["verdict"] == name]
        look = {"color": color, "marker": marker, "markersize": 4, "alpha": 0.6}
        if those:
            drawn.append(_points(those, label=name, **look))
    for on, dash, label in _EDGES:
        edge = [point[on] for point in of["frontier"]]
        look = {"linestyle": dash, "color": INK, "linewidth": 1.4}
        drawn.append(_points(edge, label=label, **look))
    limits: tuple[float | None, float | None] = (None, None)
    if epsilon := of["epsilon"]:
        # The line of γ(ε) = 0, where ρ = ε / robustness.
        least = min(x) / 1.2
        limits = (least, max(1.2 * max(x), 2 * epsilon))
        ends = [max(least, epsilon / 1.2), limits[1]]
        look = {"color": INK, "linewidth": 1.4, "linestyle": charts.DOTS}
        label = f"γ = 0 at ε = {epsilon:g}"
        y = [epsilon / end for end in ends]
        drawn.append(charts.series(ends, y, label=label, **look))
    for name, marker in _MARKS.items():
        if one := of[name]:
            drawn += _construction(name, marker, one)
    against = " against ".join(of["classes"])
    return charts.plot(
        f"plane-{'-'.join(of['classes'])}",
        f"Robustness and usefulness of {len(directions)} principal directions, "
        f"{against}.",
        drawn,
        title=against,
        x=charts.Axis(
            "robustness: standard deviation along the direction", limits, "log"
        ),
        y=charts.Axis("usefulness ρ", (_LEAST, 1.2), "log"),
        size=(5.6, 5.0),
        grid="",
    )


def _construction(name: str, marker: str, one: dict[str, Any]) -> list[charts.Series]:
    """From training (filled) to test images (open), joined by a line."""
    look = {"marker": marker, "markersize": 13, "markeredgecolor": INK, "zorder": 5}
    both = [one["train"], one["test"]]
    line = {"color": INK, "linestyle": "solid", "linewidth": 0.8, "zorder": 4}
    filled = _points(both[:1], color=VERDICTS[one["verdict"]][0], label=name, **look)
    return [_points(both, **line), filled, _points(both[1:], color=PAPER, **look)]


def _points(points: list[dict[str, Any]], **look: Any) -> charts.Series:
    x = [point["robustness"] for point in points]
    y = [max(point["rho"], _LEAST) for point in points]
    return charts.series(x, y, **{"linestyle": "none", "clip_on": False, **look})


def leakage(results: Results) -> str:
    """What robust linear features alone learn of D_rand and D_det, if measured."""
    entries = results.get("leakage") or []
    if not entries:
        return ""
    gammas = [gamma for entry in entries for gamma in entry["gammas"]]
    return page.render(
        "leakage.html",
        ball=ball(entries[0]["norm"], entries[0]["epsilon"]),
        gammas=(min(gammas), max(gammas)) if gammas else None,
        leaked=leaked(entries),
        seeds=len(entries),
        chance=1 / len(results["classes"]),
    )


def leaked(entries: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of leakage, a row for every set learned from."""
    head = ["learned from", "robust features", "accuracy", "by chance", "that is"]
    kept = ", ".join(
        dict.fromkeys(f"{e['robust']} of {e['features']}" for e in entries)
    )
    usual = ("seed", "norm", "epsilon", "features", "robust", "gammas")
    sets = dict.fromkeys(name for e in entries for name in e if name not in usual)
    rows = []
    # D itself first: how much these features could teach at all.
    for name in sorted(sets, key=lambda name: name != "D"):
        scores = {entry["seed"]: entry[name] for entry in entries if entry.get(name)}
        told = ["–|no feature is robust", "–", "–"]
        if scores:
            told = _beside_chance(scores)
        if 0 < len(scores) < len(entries):
            told[0] += f", {len(scores)} of {len(entries)} seeds"
        rows.append([name, kept, *told, page.percent(GOH.get(name))])
    return [*head, "Goh, CIFAR-10"], rows


def _beside_chance(scores: dict[int, dict[str, Any]]) -> list[str]:
    """Accuracy, that after shuffled labels, and how they compare; means over seeds."""
    (total,) = {score["total"] for score in scores.values()}
    measure = Measure({s: of["correct"] / total for s, of in scores.items()}, total)
    orders = zip(*(score["shuffled"] for score in scores.values()), strict=True)
    shuffled = [statistics.fmean(order) / total for order in orders]
    least, most = min(shuffled), max(shuffled)
    above, below = measure.mean > most, measure.mean < least
    mean = page.percent(statistics.fmean(shuffled))
    return [
        page.told(measure, "|"),
        f"{mean}|{100 * least:.1f} to {100 * most:.1f}",
        "above chance" if above else "below chance" if below else "chance",
    ]
