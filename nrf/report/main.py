"""The page of the main experiment, and results.md: what it found."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nrf.report import (
    autoattack,
    charts,
    claims,
    controls,
    features,
    linear,
    page,
    paper,
    pictures,
    provenance,
    tables,
)
from nrf.report.results import (
    CLEAN,
    Column,
    Measures,
    Results,
    main_attack,
    measures,
    networks,
    norm_name,
    radius,
    reported,
)
from nrf.report.table import accuracies, caption, counted, seeds, table

TITLE = "Are adversarial examples bugs, or features that a network can learn from?"


def html(
    results: Results,
    images: Mapping[str, np.ndarray],
    theories: Sequence[str] = (),
    studies: Sequence[str] = (),
) -> str:
    """The whole page; `images` as in pictures.npz, or {}.

    `theories` and `studies` are the folders beside this run's that hold a page of the
    theory and of the study of transferability.
    """
    groups = measures(results)
    attack = main_attack(groups)
    return page.render(
        "main.html",
        **_both(results, groups),
        results=results,
        chance=1 / len(results["classes"]),
        images=images,
        changes=pictures.changes,
        attributes=pictures.attributes,
        bars=bars(results, groups),
        attack=attack[0].setting if attack else "No attack",
        counted=counted(groups),
        several=seeds(groups) > 1,
        accuracies=accuracies(results, groups),
        paper=paper.comparison(results, groups) if paper.comparable(results) else None,
        curves=curves(results, groups, attack) if attack else None,
        autoattack=autoattack.section(results),
        features=features.section(results),
        tables=tables.section(results),
        controls=controls.section(results),
        leakage=linear.leakage(results),
        plane=linear.planes(results),
        trainings=trainings(results),
        construction=provenance.construction(results),
        theories=theories,
        studies=studies,
    )


def markdown_page(results: Results) -> str:
    """results.md: claims and tables."""
    groups = measures(results)
    beside = None
    if paper.comparable(results):
        beside = page.markdown(*paper.comparison(results, groups))
    both = _both(results, groups)
    return page.render("results.md", **both, table=table(results), paper=beside)


def _both(results: Results, groups: Measures) -> dict[str, Any]:
    """What stands on the page and in results.md."""
    run = {
        "name": results.get("name") or results["data"],
        "data": results.get("data_note") or results["data"],
        "classes": len(results["classes"]),
        "seeds": len({row["seed"] for row in results["rows"]}),
        "date": results.get("date"),
    }
    return {
        "title": TITLE,
        "lead": page.words("main.txt", "lead", **run)[0],
        "claims": claims.claims(results),
        "rule": page.words("main.txt", "rule")[0],
        "caption": caption(groups),
        "setting": paper.setting(results),
    }


def bars(results: Results, groups: Measures) -> list[str]:
    """Standard accuracy, and robust accuracy at the reported radius."""
    at = reported(results, groups)
    drawn = []
    for i, column in enumerate([CLEAN] if at is None else [CLEAN, at]):
        entries = [
            charts.Bar(
                network.title,
                cells.get(column),
                charts.look(network.place)["color"],
                paper.published(results, network, column),
            )
            for network, cells in groups.items()
        ]
        title = "standard accuracy" if column == CLEAN else f"robust, {column.label}"
        chance = 1 / len(results["classes"])
        drawn.append(charts.bars(f"bars{i}", title, entries, chance))
    return drawn


def curves(results: Results, groups: Measures, attack: Sequence[Column]) -> str:
    """Accuracy against the radius of the attack: a line and band per network."""
    radii = [CLEAN, *attack]
    drawn = [
        charts.measured(
            {at.epsilon: cells[at] for at in radii if at in cells},
            label=network.title,
            **charts.look(network.place),
        )
        for network, cells in groups.items()
    ]
    names = ["0", *(radius(column.norm, column.epsilon) for column in attack)]
    label = f"radius ε of the attack ({norm_name(attack[0].norm)})"
    ticks = [column.epsilon for column in radii]
    return charts.plot(
        "curves",
        f"Lines of accuracy against {label} for {len(drawn)} networks.",
        drawn,
        x=charts.Axis(label, ticks=ticks, names=names),
        y=charts.Axis(
            "accuracy", (0, 1), unit="percent", level=1 / len(results["classes"])
        ),
        legend=3,
    )


def trainings(results: Results) -> list[str]:
    """A chart of training for each network of the list that has a history."""
    # Networks that only help to make a set are left out.
    shown = {n["name"] for n in results["networks"] if n["group"] == "main"}
    known = {
        name: network
        for name, network in networks(results).items()
        if name in shown or network.trained_on != "D"
    }
    histories: dict[str, list] = {name: [] for name in known}
    for step, history in (results.get("history") or {}).items():
        name = step.partition("/")[2] or step
        if history and name in known:
            histories[name].append(history)
    return [
        charts.training(
            f"training{i}",
            known[name].title,
            charts.look(known[name].place)["color"],
            of_seeds,
            1 / len(results["classes"]),
        )
        for i, (name, of_seeds) in enumerate(histories.items())
        if of_seeds
    ]
