"""The page of the study of transferability, section by section."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from nrf.report import charts, claims, page, paper, provenance
from nrf.report.results import Network, Results, norm_name, percent, radius
from nrf.report.transfer import plots
from nrf.report.transfer.claims import WAYS, power
from nrf.report.transfer.claims import claims as transfer_claims
from nrf.report.transfer.results import SOURCE, label, learners
from nrf.report.transfer.table import (
    HEAD,
    HEAD_ALL,
    HEAD_PAPER,
    beside_paper,
    caption,
    of_all_images,
    rows,
)

TITLE = "Who is fooled together has learned the same features"


def html(study: Results, runs: Sequence[str] = ()) -> str:
    """The whole page; `runs` are the folders beside this run's with an experiment."""
    sections = [
        verdicts(study, runs),
        scatter(study),
        counted(study),
        how(study),
        by_epoch(study),
        provenance.record(study),
    ]
    return page.page(TITLE, lead(study), sections)


def lead(study: Results) -> str:
    note = study.get("data_note") or study["data"]
    run = f"Run “{study.get('name') or study['data']}” on {note}"
    return (
        f"{', '.join(part for part in (run, study.get('date')) if part)}. Adversarial "
        "examples of one network fool others. If they are features, an architecture "
        "that is prone to the source's features should be fooled more often, and "
        "learn more from D_det, where those features alone give the label: figures 3 "
        "and 13 of Ilyas et al. (2019), “Adversarial Examples Are Not Bugs, They Are "
        "Features”, arXiv 1905.02175."
    )


def verdicts(study: Results, runs: Sequence[str]) -> str:
    blocks = [
        claims.html(transfer_claims(study)),
        page.paragraph(power(study), note=True),
        page.table(HEAD, rows(study, "|")),
        page.paragraph(caption(study), note=True),
    ]
    if paper.comparable(study):
        blocks += [
            page.table(HEAD_PAPER, beside_paper(study)),
            page.paragraph(
                "Paper: read off figures 3 and 13, full widths, all of CIFAR-10; "
                "which images its transfer rate counts, and the radius of its attack, "
                "are not said. Its DenseNet may not be the one of 121 layers.",
                note=True,
            ),
        ]
    blocks.append(
        page.neighbours(
            "The main experiment"
            if runs
            else "This makes the main experiment, from which D_det is taken",
            runs,
            "python scripts/run.py configs/digits.py --out runs/digits",
        )
    )
    return page.section("What this run shows", *blocks)


def scatter(study: Results) -> str:
    beside = paper.comparable(study)
    drawn = [plots.scatter(way, study, way, beside) for way in WAYS]
    hollow = " Hollow, with the dashed line: the paper's five points." if beside else ""
    return page.section(
        "Transfer rate against what is learned from D_det",
        page.figure(
            page.panels(drawn, least="26rem"),
            "A point per architecture. Upwards: how often attacks on the source work "
            "on the network that was trained on D. To the right: the test accuracy of "
            "the network of this architecture that saw nothing but the source's D_det. "
            "If attacks carry features, points rise from left to right. Bars: 95 % "
            f"intervals; solid: least squares.{hollow} A network that learns little "
            "of anything is low on both axes, so compare accuracies on D in the table "
            "before reading the line as one of architectures.",
        ),
    )


def counted(study: Results) -> str:
    return page.section(
        "Which images are counted",
        page.paragraph(
            "The paper does not say how it counts. Here the rates above are of the "
            "images that a network gets right without attack, so that errors of a "
            "weak network are not taken for transfer. Of all images it would be:"
        ),
        page.table(HEAD_ALL, of_all_images(study)),
        page.paragraph(
            "“The target” is the class after the true one; some images are taken for "
            "it without any attack.",
            note=True,
        ),
    )


def how(study: Results) -> str:
    config = study["config"]
    halves = config.get("halves")
    made_of = "a random half of the training images" if halves else "all of D"
    trained = "the other half" if halves else "D, from another seed of weights"
    reached = [percent(entry["reached_target"]) for entry in study.get("attacks") or []]
    table = [
        [
            "the source",
            f"{_described(config['source'])}, trained on {made_of}: "
            f"{_trained(config['source_training'])}",
        ],
        ["attacks on test images", _attack(config["attack"])],
        [
            "D_det",
            f"of the source's images: {_attack(config['mislabelling']['attack'])}; "
            f"target reached by {', '.join(reached) or 'not recorded'}",
        ],
    ]
    for learner in config["learners"]:
        network = learner["network"]
        table.append(
            [
                label(network["name"]),
                f"{_described(network)}, trained on {trained}: "
                f"{_trained(learner['on_D'])}; on D_det: "
                f"{_trained(learner['on_D_det'])}",
            ]
        )
    return page.section("How it was measured", page.table(["what", "how"], table))


def _described(network: Mapping[str, Any]) -> str:
    name = network["name"]
    size = network["widths"] if name in ("small", "mlp") else network["width"]
    said = " ".join(map(str, size)) if isinstance(size, list | tuple) else size
    return f"{label(name)}, width {said}"


def _trained(training: Mapping[str, Any]) -> str:
    return (
        f"{training['epochs']} epochs, batches of {training['batch_size']}, "
        f"learning rate {training['learning_rate']:g}"
    )


def _attack(attack: Mapping[str, Any]) -> str:
    return (
        f"PGD, {norm_name(attack['norm'])}, "
        f"ε = {radius(attack['norm'], attack['epsilon'])}, "
        f"{attack['steps']} steps of {attack['step_size']:g}"
    )


def by_epoch(study: Results) -> str:
    histories: dict[str, list] = defaultdict(list)
    for stage, history in (study.get("history") or {}).items():
        histories[stage.partition("/")[2]].append(history)
    if not histories:
        return ""
    names = {SOURCE: f"source: {label(study['config']['source']['name'])}"}
    for name in learners(study):
        names[name] = f"{label(name)} on D"
        names[f"{name}_on_D_det"] = f"{label(name)} on D_det"
    drawn = [
        charts.training(
            f"training{i}",
            Network(names.get(stage, stage), "standard"),
            of_seeds,
            1 / len(study["classes"]),
        )
        for i, (stage, of_seeds) in enumerate(histories.items())
    ]
    key = page.key(
        [
            ("", "test accuracy, in colour"),
            ("border-top-style: dashed", "training accuracy"),
            ("border-top-style: dotted", "chance"),
        ]
    )
    return page.section(
        "Accuracy during training",
        page.figure(
            key + page.panels(drawn, least="15rem"),
            "A line per seed. Test accuracy is that on D's test images; training "
            "accuracy is that on what is trained with, which for D_det has only wrong "
            "labels. Lines that still rise at the end ask for more epochs.",
        ),
    )
