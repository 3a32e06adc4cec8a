"""The page of the main experiment, and results.md: what it found."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nrf.report import (
    answers,
    autoattack,
    charts,
    claims,
    closeness,
    controls,
    differences,
    evidence,
    features,
    linear,
    page,
    paper,
    pictures,
    provenance,
    students,
    tables,
)
from nrf.report.results import (
    CLEAN,
    NETWORK,
    Column,
    Measures,
    Results,
    main_attack,
    networks,
    norm_name,
    radius,
)
from nrf.report.results import measures as by_pgd
from nrf.report.strongest import measures
from nrf.report.table import (
    accuracies,
    caption,
    counted,
    defined,
    headline,
    seeds,
    table,
)

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
        attack=attack[0].setting if attack else "",
        defined=defined(groups),
        counted=counted(groups),
        several=seeds(groups) > 1,
        accuracies=accuracies(results, groups),
        differences=differences.section(results),
        paper=beside(results),
        students=students.section(results),
        curves=curves(results, groups, attack) if attack else None,
        answers=answers.section(results, groups),
        autoattack=autoattack.section(results),
        evidence=evidence.section(results),
        features=features.section(results),
        closeness=closeness.section(results),
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
    groups, theirs = measures(results), beside(results)
    return page.render(
        "results.md",
        **_both(results, groups),
        table=table(results),
        differences=differences.section(results, " "),
        paper=page.markdown(*theirs) if theirs else None,
    )


def beside(results: Results) -> tuple[list[str], list[list[str]]] | None:
    """The table of this run and the paper, whose attack was PGD too."""
    if not paper.comparable(results):
        return None
    return paper.comparison(results, by_pgd(results))


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
        "explained": page.words("main.txt", "differences", *differences.published()),
        "caption": caption(groups),
        "setting": paper.setting(results),
        "learned": students.sentences(results),
        "close": closeness.sentences(results),
    }


def bars(results: Results, groups: Measures) -> list[str]:
    """Standard accuracy, and robust accuracy at the reported radius."""
    drawn = []
    for i, column in enumerate([CLEAN, *headline(results, groups)]):
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
    # Networks that only help to make a set are left out, and students.
    shown = {n["name"] for n in results["networks"] if n["group"] == "main"}
    known = {
        name: network
        for name, network in networks(results).items()
        if name in shown or (network.trained_on != "D" and network.learner == NETWORK)
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
