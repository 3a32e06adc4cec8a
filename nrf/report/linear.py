"""The linear controls on a page: the plane of linear features, and robust leakage."""

import statistics
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from nrf.report import page
from nrf.report.charts import INK, PAPER, STYLE, svg
from nrf.report.features import VERDICTS
from nrf.report.results import Measure, Results, bracket, norm_name, percent, radius

# Goh's, of CIFAR-10 with its 10 features (response 2). Its page says "out of 88 %" of
# the first, which is the Restricted ImageNet's: CIFAR-10's D_rand has 63.3 %.
GOH = {"D_rand": 0.235, "D_det": 0.0681}
SETS = ("D", *GOH)
# How the two constructions are drawn, so that they differ from any direction.
_MARKS = {"ensemble": "*", "containment": "P"}
_LEAST = 1e-3  # Usefulness that is less is drawn at the edge.


def plane_section(results: Results) -> str:
    """Linear features by robustness and usefulness; nothing where not measured."""
    return "".join(_plane(found) for found in results.get("plane") or [])


def _plane(found: dict[str, Any]) -> str:
    names, images, epsilon = found["classes"], found["images"], found["epsilon"]
    many = f"{len(found['directions']):,} principal directions of the pixels"
    return page.section(
        "Linear features: robustness against usefulness",
        page.figure(
            page.panels([scatter(found)], least="26rem"),
            f"The {many}, a marker each, for {names[0]} against {names[1]} "
            f"({images['train']:,} training images). To the right: more robust (the "
            "standard deviation of the images along the direction). Up: more useful "
            f"(ρ; less than {_LEAST:g} is drawn at the edge). A feature above the "
            f"dotted line is robust at ℓ₂, ε = {epsilon:g}. Look at the cloud first: "
            "are fine patterns, to the left, less useful, too? (By chance a useless "
            f"direction has ρ around {images['train'] ** -0.5:.2g} here.) The "
            "solid line is the most that any linear feature reaches; the dashed one is "
            "what those same features are worth on test images, and where the two part "
            "they had fitted noise. Star and cross are made of several markers: follow "
            "them from training (filled) to test images (open).",
        ),
        page.table(*constructions(found)),
        page.paragraph(
            "Two ways to useful features that are not robust, from Gabriel Goh's "
            "response to the paper (Distill, 2019). The ensemble is a sum of "
            "directions, each with the sign that makes it useful, whose robustness is "
            f"at most ε = {epsilon:g}: none of their sums can be robust. Only test "
            f"images ({images['test']:,}) tell whether it is useful: even useless "
            "directions add up to something on the images that gave them their signs. "
            "The containment is no feature of its own: a useless direction that is not "
            "robust, with a robust one mixed in. The paper's definition counts it as a "
            "useful non-robust feature all the same; what D_det teaches tells the two "
            f"kinds apart. Beyond ε = {found['limit']:.2f}, half the distance of "
            "the classes' mean images, no linear feature is robust.",
            note=True,
        ),
    )


def scatter(found: dict[str, Any]) -> str:
    """Robustness and usefulness on logarithmic axes."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 5.0), layout="constrained")
        axes = figure.add_subplot(
            title=" against ".join(found["classes"]),
            xlabel="robustness: standard deviation along the direction",
            ylabel="usefulness ρ",
            xscale="log",
            yscale="log",
            ylim=(_LEAST, 1.2),
        )
        directions = found["directions"]
        for said, (color, marker) in VERDICTS.items():
            those = [one for one in directions if one["verdict"] == said]
            if those:
                _draw(
                    axes,
                    those,
                    marker,
                    color=color,
                    markersize=4,
                    alpha=0.6,
                    label=said,
                )
        for on, dash, label in (
            ("train", "solid", "most useful, training"),
            ("test", (0, (4, 2)), "the same on test images"),
        ):
            edge = [point[on] for point in found["frontier"]]
            _draw(axes, edge, "", linestyle=dash, color=INK, linewidth=1.4, label=label)
        _zero(axes, found["epsilon"])
        for name, marker in _MARKS.items():
            one = found[name]
            if one is None:
                continue
            color = VERDICTS[one["verdict"]][0]
            both = [one["train"], one["test"]]
            _draw(axes, both, "", color=INK, linewidth=0.8, zorder=4)
            look: dict[str, Any] = {"markersize": 13, "mec": INK, "zorder": 5}
            _draw(axes, both[:1], marker, color=color, label=name, **look)
            _draw(axes, both[1:], marker, color=PAPER, **look)
        _ticks(axes)
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
        alt = (
            f"Robustness and usefulness of {len(directions)} principal directions, "
            f"{' against '.join(found['classes'])}."
        )
        return svg(figure, f"plane-{'-'.join(found['classes'])}", alt)


def _draw(axes: Axes, points: list[dict[str, Any]], marker: str, **look: Any) -> None:
    x = [point["robustness"] for point in points]
    y = [max(point["rho"], _LEAST) for point in points]
    axes.plot(x, y, **{"marker": marker, "linestyle": "none", "clip_on": False, **look})


def _zero(axes: Axes, epsilon: float) -> None:
    """The line of γ(ε) = 0, where ρ = ε / robustness."""
    if not epsilon:
        return
    least, most = axes.get_xlim()
    ends = [max(least, epsilon / 1.2), max(most, 2 * epsilon)]
    dots = (0, (1, 2))
    axes.plot(
        ends,
        [epsilon / end for end in ends],
        color=INK,
        linewidth=1.4,
        linestyle=dots,
        label=f"γ = 0 at ε = {epsilon:g}",
    )
    axes.set_xlim(least, ends[1])


def _ticks(axes: Axes) -> None:
    """Plain numbers, and 2 and 5 between powers of ten where these are few."""
    for axis, (least, most) in (
        (axes.xaxis, axes.get_xlim()),
        (axes.yaxis, axes.get_ylim()),
    ):
        few = most < 100 * least
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def constructions(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of ensemble and containment."""
    head = ["feature", "made of", "robustness", "ρ, training", "ρ, test", "γ, test"]
    directions = found["directions"]
    made_of = {}
    if of := found["ensemble"]:
        made_of["ensemble"] = (
            f"{of['members']:,} directions|the best has ρ = {of['best_member']:.3f}"
        )
    if of := found["containment"]:
        robust, nonrobust = (directions[of[name]] for name in ("robust", "nonrobust"))
        made_of["containment"] = (
            f"2 directions|of ρ = {nonrobust['rho']:.3f} and ρ = {robust['rho']:.3f}"
        )
    rows = []
    for name in _MARKS:
        one = found[name]
        if one is None:
            rows.append([name, "not possible here", *["–"] * 5])
            continue
        train, test = one["train"], one["test"]
        rows.append(
            [
                name,
                made_of[name],
                f"{train['robustness']:.2g}",
                f"{train['rho']:.3f}",
                *(
                    f"{_number(test[of])}|[{_number(test[f'{of}_low'])}, "
                    f"{_number(test[f'{of}_high'])}]"
                    for of in ("rho", "gamma")
                ),
                one["verdict"],
            ]
        )
    return [*head, "that is"], rows


def leakage_section(results: Results) -> str:
    """What robust linear features alone learn of D_rand and D_det, if measured."""
    found = results.get("leakage") or []
    if not found:
        return ""
    chance = 1 / len(results["classes"])
    norm, epsilon = found[0]["norm"], found[0]["epsilon"]
    gammas = [gamma for entry in found for gamma in entry["gammas"]]
    spread = (
        f" The outputs have γ from {_number(min(gammas))} to {_number(max(gammas))}."
        if gammas
        else ""
    )
    seeds = f", mean of {len(found)} seeds" if len(found) > 1 else ""
    return page.section(
        "Do robust features leak into D_rand?",
        page.paragraph(
            "The labels of D_rand and D_det were chosen against the images, and should "
            "go along with non-robust features only. Here a linear classifier learns "
            "from them by robust features alone: the outputs of a linear classifier "
            "trained adversarially on D, as far as they are robustly useful "
            f"({norm_name(norm)}, ε = {radius(norm, epsilon)}; exactly known of linear "
            f"features).{spread} What it gets right of the unchanged test images is "
            "not owed to non-robust features."
        ),
        page.table(*leaked(found)),
        page.paragraph(
            f"Wilson's 95 % intervals{seeds}: for other test images. By chance: the "
            "same after the same labels in random order, mean and range of all orders; "
            f"guessing is right for {percent(chance)}. The range is wide, because a "
            "classifier without a lesson still gives most images of a class one label. "
            "Above the range on D_rand: robust features leak, and D_rand's accuracy "
            "does not show non-robust features by itself. Not above it on D_det: there "
            "they do not, which is why the paper has D_det. Other robust features "
            "could leak more. Goh's numbers (Distill, 2019) are of 10 features of "
            "CIFAR-10 at ℓ₂, ε = 0.25, where the paper's ResNet-50 reaches 63.3 % "
            "after D_rand and 43.7 % after D_det; his page sets the first beside 88 %, "
            "which is the accuracy on Restricted ImageNet.",
            note=True,
        ),
    )


def leaked(found: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of leakage, a row for every set learned from."""
    head = ["learned from", "robust features", "accuracy", "by chance", "that is"]
    kept = ", ".join(
        dict.fromkeys(f"{entry['robust']} of {entry['features']}" for entry in found)
    )
    rows = []
    for name in SETS:
        if not any(name in entry for entry in found):
            continue
        scores = {entry["seed"]: entry[name] for entry in found if entry.get(name)}
        said = ["–|no feature is robust", "–", "–"]
        if scores:
            said = _beside_chance(scores)
        if 0 < len(scores) < len(found):
            said[0] += f", {len(scores)} of {len(found)} seeds"
        rows.append([name, kept, *said, percent(GOH[name]) if name in GOH else "–"])
    return [*head, "Goh, CIFAR-10"], rows


def _beside_chance(scores: dict[int, dict[str, Any]]) -> list[str]:
    """Accuracy, that after shuffled labels, and how they compare; means over seeds."""
    (total,) = {score["total"] for score in scores.values()}
    measure = Measure({s: of["correct"] / total for s, of in scores.items()}, total)
    orders = zip(*(score["shuffled"] for score in scores.values()), strict=True)
    shuffled = [statistics.fmean(order) / total for order in orders]
    least, most = min(shuffled), max(shuffled)
    above, below = measure.mean > most, measure.mean < least
    return [
        f"{percent(measure.mean)}|{bracket(measure)}",
        f"{percent(statistics.fmean(shuffled))}|{100 * least:.1f} to {100 * most:.1f}",
        "above chance" if above else "below chance" if below else "chance",
    ]


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
