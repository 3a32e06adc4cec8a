"""The framework on a page: which features of which network are useful, and robust."""

from collections import Counter
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from nrf.report import page
from nrf.report.charts import INK, STYLE, look, svg
from nrf.report.results import (
    ADVERSARIAL,
    STANDARD,
    Results,
    norm_name,
    percent,
    radius,
)

# Okabe and Ito's colours; markers differ too.
VERDICTS = {
    "robustly useful": ("#0072b2", "s"),
    "robustly useful by PGD": ("#56b4e9", "D"),
    "useful, not robust": ("#d55e00", "v"),
    "undecided": ("#cc79a7", "o"),
    "not useful": ("#8c8c8c", "x"),
}
NETWORKS = {"standard": STANDARD, "robust": ADVERSARIAL}


def features(results: Results) -> str:
    """The section of the main page; nothing where features were not measured."""
    measured = results.get("features") or []
    if not measured:
        return ""
    groups = {
        name: [entry for entry in measured if entry["network"] == name]
        for name in NETWORKS
    }
    settings = results["config"]["features"]
    ball = f"{norm_name(settings['norm'])}, "
    ball += f"ε = {radius(settings['norm'], settings['epsilon'])}"
    seeds = len(groups["standard"])
    certificate = (
        "Certified means: not even the bound that holds for every perturbation is "
        "below zero; for networks of many layers that bound is too loose to say "
        "anything."
        if settings["certificate"]
        else "No certificate was asked for, so that robust means: PGD did not succeed."
    )
    return page.section(
        "The features themselves",
        page.figure(
            page.panels(
                [scatter(name, entries) for name, entries in groups.items()],
                least="26rem",
            ),
            "A marker for every unit of the representation, and class against the rest"
            f"{', and seed' if seeds > 1 else ''}. To the right: more useful (ρ, the "
            "correlation with the class). Up: more robustly useful (γ, the same after "
            f"the worst perturbation that PGD finds for this unit; {ball}, "
            f"{settings['steps']} steps, {measured[0]['images']:,} test images). On "
            "the dotted diagonal an attack takes nothing; below the line of zero a "
            "useful feature is one of the paper's non-robust features. Compare the "
            "two: adversarial training moves the cloud up.",
        ),
        page.figure(
            page.panels([histogram(groups)], least="26rem"),
            "Pairs of unit and class that are useful, or may be, by their γ.",
        ),
        page.table(*shares(groups)),
        page.paragraph(
            f"Shares of all pairs. Useful: the 95 % interval of ρ is above "
            f"{settings['useful']:g}; robust: that of γ is above zero. {certificate} "
            "Units that are constant on these images (dead) are left out. Layer "
            "robustness is E max ‖g(x′) − g(x)‖ / E ‖g(x₁) − g(x₂)‖: lower is more "
            "robust. features.csv beside this page has all values.",
            note=True,
        ),
    )


def scatter(name: str, entries: list[dict[str, Any]]) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 4.6), layout="constrained")
        axes = figure.add_subplot(
            title=NETWORKS[name].label,
            xlabel="usefulness ρ",
            ylabel="robust usefulness γ, at most",
            xlim=(0, 1),
            ylim=(-1, 1),
        )
        axes.axhline(0, color=INK, linewidth=1)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (1, 2)))
        rho, gamma, verdict = (
            column(entries, name) for name in ("rho", "gamma_attacked", "verdict")
        )
        for said, (color, marker) in VERDICTS.items():
            those = verdict == said
            if those.any():
                axes.plot(
                    rho[those],
                    # What is below the frame is drawn at its edge.
                    np.maximum(gamma[those], -1),
                    marker,
                    color=color,
                    markersize=4,
                    alpha=0.7,
                    label=said,
                    clip_on=False,
                )
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
        alt = (
            f"Usefulness and robust usefulness of {len(rho)} pairs of unit and class "
            f"of the network {NETWORKS[name].label}."
        )
        return svg(figure, f"features-{name}", alt)


def histogram(groups: dict[str, list[dict[str, Any]]]) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        axes = figure.add_subplot(xlabel="robust usefulness γ, at most", ylabel="share")
        for name, entries in groups.items():
            useful = column(entries, "verdict") != "not useful"
            gamma = column(entries, "gamma_attacked")[useful]
            axes.hist(
                np.maximum(gamma, -1),
                bins=np.linspace(-1, 1, 41).tolist(),
                weights=np.full(len(gamma), 1 / max(len(gamma), 1)),
                histtype="stepfilled",
                color=look(NETWORKS[name])[0],
                alpha=0.55,
                label=NETWORKS[name].label,
            )
        axes.axvline(0, color=INK, linewidth=1)
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
        return svg(figure, "features-histogram", "Histograms of robust usefulness.")


def column(entries: list[dict[str, Any]], name: str) -> np.ndarray:
    """One of the columns of features.csv."""
    return np.array([row[name] for entry in entries for row in entry["rows"]])


def shares(
    groups: dict[str, list[dict[str, Any]]],
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of verdicts."""
    counts = {
        name: Counter(column(entries, "verdict").tolist())
        for name, entries in groups.items()
    }
    shown = [said for said in VERDICTS if any(count[said] for count in counts.values())]
    rows = []
    for name, entries in groups.items():
        total = sum(counts[name].values())
        robustness = np.mean([entry["layer_robustness"] for entry in entries])
        rows.append(
            [
                NETWORKS[name].label,
                *(percent(counts[name][said] / total) for said in shown),
                f"{total:,}",
                str(sum(len(entry["constant"]) for entry in entries)),
                f"{robustness:.3f}",
            ]
        )
    return ["network", *shown, "pairs", "dead units", "layer robustness"], rows
