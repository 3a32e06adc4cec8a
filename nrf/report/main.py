"""The page of the main experiment: what it found, section by section."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

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
    Measures,
    Network,
    Results,
    columns,
    headline,
    main_attack,
    measures,
    norm_name,
    percent,
    radius,
)
from nrf.report.table import caption, cell, counted, heading, markdown, table

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
    chance = 1 / len(results["classes"])
    sections = [
        verdicts(results, groups),
        same_images(images, results["classes"]),
        accuracies(results, groups, chance),
        against_radius(groups, chance),
        autoattack.section(results),
        features.features(results),
        tables.tables(results),
        controls.section(results),
        linear.leakage_section(results),
        linear.plane_section(results),
        by_epoch(results, chance),
        provenance.construction(results),
        theory(theories),
        transferability(studies),
        provenance.record(results),
    ]
    return page.page(TITLE, lead(results), sections)


def markdown_page(results: Results) -> str:
    """results.md: claims and tables."""
    lines = [f"# {TITLE}", "", lead(results), "", "## What this run shows", ""]
    for claim in claims.claims(results):
        lines += [
            f"- **{claim.title}: {claim.verdict}.** {claim.measured} "
            f"(Shown means: {claim.rule}.)"
        ]
    lines += ["", claims.RULE, "", "## Accuracies", "", table(results)]
    if paper.comparable(results):
        head, rows = paper.comparison(results)
        note = paper.setting(results, measures(results))
        lines += ["## Beside the paper", "", markdown(head, rows), "", note, ""]
    return "\n".join(lines)


def lead(results: Results) -> str:
    """One line on which run this is."""
    note = results.get("data_note") or results["data"]
    seeds = {row["seed"] for row in results["rows"]}
    parts = [
        f"Run “{results.get('name') or results['data']}” on {note}",
        f"{len(results['classes'])} classes",
        f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}",
        results.get("date") or "",
    ]
    return (
        f"{', '.join(part for part in parts if part)}. An experiment of Ilyas et al. "
        "(2019), “Adversarial Examples Are Not Bugs, They Are Features”, "
        "arXiv 1905.02175."
    )


def verdicts(results: Results, groups: Measures) -> str:
    shown = columns(groups)
    rows = [
        [network.label, *(cell(cells.get(column), "|") for column in shown)]
        for network, cells in groups.items()
    ]
    head = ["trained on", *(heading(column, groups) for column in shown)]
    blocks = [
        claims.html(claims.claims(results)),
        page.paragraph(claims.RULE, note=True),
        page.table(head, rows),
        page.paragraph(caption(groups), note=True),
    ]
    if paper.comparable(results):
        blocks += [
            page.table(*paper.comparison(results)),
            page.paragraph(paper.setting(results, groups), note=True),
        ]
    return page.section("What this run shows", *blocks)


def same_images(images: Mapping[str, np.ndarray], classes: list[str]) -> str:
    title = "The same images in every data set"
    if "D" not in images:
        return page.section(
            title, page.paragraph("This run has no pictures.npz.", note=True)
        )
    factor = pictures.amplification(images)
    return page.section(
        title,
        page.figure(
            pictures.grid(images, classes),
            "Look down a column: one image of D, and what became of it. Under each is "
            "the label that a network is trained with; an arrow marks a label that is "
            "not the true one. D_R and D_NR start from another image and are changed "
            "until a network sees the features of the one above: an adversarially "
            "trained network for D_R, a standard one for D_NR. D_rand and D_det are "
            "the image itself, attacked until the standard network sees the new label. "
            f"The rows of differences show this change, {factor} times as large, "
            "around grey. In the paper (figure 2, left) only D_R looks like D; D_NR "
            "looks like the image it started from.",
        ),
    )


def accuracies(results: Results, groups: Measures, chance: float) -> str:
    at = headline(results, groups)
    shown = [CLEAN] if at is None else [CLEAN, at]
    drawn = [
        charts.bars(
            f"bars{i}",
            "standard accuracy" if column == CLEAN else f"robust, {column.label}",
            {network: cells.get(column) for network, cells in groups.items()},
            chance,
        )
        for i, column in enumerate(shown)
    ]
    return page.section(
        "Standard and robust accuracy",
        page.figure(
            page.panels(drawn, least="26rem"),
            "Compare D_R with “D, standard” under attack: both are trained in the "
            "standard way. Then D_NR without attack and under it; and D_rand and "
            "D_det, trained on an attack's targets as labels, with chance. "
            f"{_marks(groups)} Dotted: chance, {percent(chance)}. "
            f"{_attack(groups)} In the paper (figure 2, right) "
            "standard training on D_R keeps more than half of the robustness of "
            "adversarial training, and D_NR has nearly the accuracy of D and no "
            "robustness.",
        ),
    )


def _marks(groups: Measures) -> str:
    if max(len(m.by_seed) for cells in groups.values() for m in cells.values()) > 1:
        return "Bar: mean; line: 95 % interval; circles: seeds."
    return "Line: 95 % interval."


def _attack(groups: Measures) -> str:
    attack = main_attack(groups)
    return f"{attack[0].setting if attack else 'No attack'}; {counted(groups)}."


def against_radius(groups: Measures, chance: float) -> str:
    attack = main_attack(groups)
    if not attack:
        return ""
    radii = [CLEAN, *attack]
    chart = charts.curves(
        "curves",
        groups,
        radii,
        ["0", *(radius(column.norm, column.epsilon) for column in attack)],
        f"radius ε of the attack ({norm_name(attack[0].norm)})",
        chance,
    )
    return page.section(
        "Accuracy against the radius of the attack",
        page.figure(
            chart,
            "Left end: no attack. Lines that fall steeply rest on features that a "
            f"small change flips. {_attack(groups)} Means over seeds; bands: 95 % "
            f"intervals; dotted: chance, {percent(chance)}. In the paper (table 7) "
            "adversarial training on D falls slowest, then D_R; standard training on D "
            "and on D_NR falls to nothing.",
        ),
    )


def by_epoch(results: Results, chance: float) -> str:
    histories: dict[str, list] = defaultdict(list)
    for stage, history in (results.get("history") or {}).items():
        name = stage.partition("/")[2] or stage
        # Not those that only help to make a set.
        if history and name.startswith(("on_", "standard", "robust")):
            histories[name].append(history)
    if not histories:
        return ""
    drawn = [
        charts.training(f"training{i}", _trained(stage), of_seeds, chance)
        for i, (stage, of_seeds) in enumerate(histories.items())
    ]
    key = page.key(
        [
            ("", "test accuracy, in the network’s colour"),
            ("border-top-style: dashed", "training accuracy"),
            ("border-top-style: dotted", "chance"),
        ]
    )
    return page.section(
        "Accuracy during training",
        page.figure(
            key + page.panels(drawn, least="15rem"),
            "A line per seed. Test accuracy is that on D's test images, without "
            "attack; training accuracy is that on the images and labels trained with: "
            "attacked images for “D, adversarial”, random labels for D_rand, only "
            "wrong labels for D_det. In the paper (figure 10) D_rand stays at chance "
            "for tens of epochs and then learns at once.",
        ),
    )


def _trained(stage: str) -> Network:
    """The network of a stage: standard, robust, on_D_R, ..."""
    if stage == "robust":
        return Network("D", "adversarial")
    name = "D" if stage == "standard" else stage.removeprefix("on_")
    return Network(name, "standard")


def theory(folders: Sequence[str]) -> str:
    return page.section(
        "The theory behind it",
        page.paragraph(
            "For two Gaussian classes the paper's section 4 says what robust training "
            "learns, and why its gradients point from class to class. The page of the "
            "theory checks each of these statements by numbers, and says where the "
            "print had to be corrected."
        ),
        page.neighbours(
            "It is here" if folders else "This makes it",
            folders,
            "python scripts/theory.py configs/gaussian.py --out runs/gaussian",
        ),
    )


def transferability(folders: Sequence[str]) -> str:
    return page.section(
        "Other architectures",
        page.paragraph(
            "The paper's figure 3: architectures that are fooled more often by attacks "
            "on another network learn more from that network's D_det."
        ),
        page.neighbours(
            "It is here" if folders else "This makes it",
            folders,
            "python scripts/transfer.py configs/transfer_small.py "
            "--out runs/transfer_small",
        ),
    )
