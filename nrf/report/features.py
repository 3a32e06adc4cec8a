"""Which features of which network are useful, and robust, on a page."""

from typing import Any

import numpy as np

from nrf.report import charts, page
from nrf.report.charts import BLUE, GREY, INK, ORANGE, PINK, SKY
from nrf.report.results import Network, Results, ball, by_network

# Okabe and Ito's colours; markers differ too.
VERDICTS = {
    "robustly useful": (BLUE, "s"),
    "robustly useful by PGD": (SKY, "D"),
    "useful, not robust": (ORANGE, "v"),
    "undecided": (PINK, "o"),
    "not useful": (GREY, "x"),
}
Groups = dict[Network, list[dict[str, Any]]]
_GAMMA = "robust usefulness γ, at most"


def section(results: Results) -> str:
    """The section of the page; nothing where features were not measured."""
    measured = results.get("features") or []
    if not measured:
        return ""
    groups = by_network(results, "features")
    settings = results["config"]["features"]
    return page.render(
        "features.html",
        scatters=[scatter(network, of) for network, of in groups.items()],
        histogram=histogram(groups),
        shares={network.title: shares(of) for network, of in groups.items()},
        verdicts=VERDICTS,
        settings=settings,
        ball=ball(settings["norm"], settings["epsilon"]),
        images=measured[0]["images"],
        several=len({entry["seed"] for entry in measured}) > 1,
    )


def column(entries: list[dict[str, Any]], name: str) -> np.ndarray:
    """One of the columns of features.csv."""
    return np.array([row[name] for entry in entries for row in entry["rows"]])


def scatter(network: Network, entries: list[dict[str, Any]]) -> str:
    """A marker for every pair of unit and class."""
    rho, gamma, verdict = (
        column(entries, name) for name in ("rho", "gamma_attacked", "verdict")
    )
    drawn = [
        charts.series([0, 1], [0, 0], color=INK, linewidth=1),
        charts.series([0, 1], [0, 1], color=INK, linewidth=1, linestyle=charts.DOTS),
    ]
    for name, (color, marker) in VERDICTS.items():
        those = verdict == name
        if those.any():
            look: dict[str, Any] = {"color": color, "marker": marker}
            # What is below the frame is drawn at its edge.
            y = np.maximum(gamma[those], -1)
            look |= {
                "linestyle": "none",
                "markersize": 4,
                "alpha": 0.7,
                "label": name,
                "clip_on": False,
            }
            drawn.append(charts.series(rho[those], y, **look))
    return charts.plot(
        f"features-{network.name}",
        f"Usefulness and robust usefulness of {len(rho)} pairs of unit and class "
        f"of the network {network.title}.",
        drawn,
        title=network.title,
        x=charts.Axis("usefulness ρ", (0, 1)),
        y=charts.Axis(_GAMMA, (-1, 1)),
        size=(5.2, 4.6),
        grid="",
    )


def histogram(groups: Groups) -> str:
    """Shares of the useful pairs by their γ."""
    edges = np.linspace(-1, 1, 41)
    drawn = []
    for network, entries in groups.items():
        useful = column(entries, "verdict") != "not useful"
        gamma = np.maximum(column(entries, "gamma_attacked")[useful], -1)
        share = np.histogram(gamma, edges)[0] / max(len(gamma), 1)
        # Corners of the steps, from zero to zero.
        steps = np.concatenate([[0], share.repeat(2), [0]])
        color = charts.look(network.place)["color"]
        look = {"color": color, "label": network.title}
        x = edges.repeat(2)
        drawn.append(charts.series(x, steps, band=(0 * steps, steps), **look))
    return charts.plot(
        "features-histogram",
        "Histograms of robust usefulness.",
        drawn,
        x=charts.Axis(_GAMMA, level=0),
        y=charts.Axis("share", (0, None)),
        size=(5.2, 3.2),
        grid="",
    )


def shares(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """What a row of the table of verdicts is made of; fractions of all pairs."""
    verdicts = column(entries, "verdict")
    return {
        "of": {name: float(np.mean(verdicts == name)) for name in VERDICTS},
        "pairs": len(verdicts),
        "dead": sum(len(entry["constant"]) for entry in entries),
        "robustness": np.mean([entry["layer_robustness"] for entry in entries]),
    }
