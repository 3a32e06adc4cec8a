"""What tests of pages share: what a page must be, and what it says."""

import html
import html.parser
import math
import re

import numpy as np

from nrf.evaluate import Evidence
from nrf.evaluate.statistics import pack


class Page(html.parser.HTMLParser):
    """The elements of a page in their order; raises ValueError if one is not closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, source):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(source)
        self.close()
        if self.open:
            raise ValueError(f"<{self.open[-1]}> is not closed")

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"</{tag}> closes something else")

    def values(self, name):
        """Of the attribute `name`, wherever it is given."""
        return [attrs[name] for _, attrs in self.elements if name in attrs]

    def links(self):
        """Addresses outside of the page."""
        inside = "#", "data:"
        return [href for href in self.values("href") if not href.startswith(inside)]


def check_page(test, source, programs=0):
    """A page is whole, needs no network, and its local references lead somewhere."""
    page = Page(source)
    test.assertIsNone(re.search(r"https?:|@import|<script |<link", source))
    test.assertEqual(source.count("<script>"), programs)
    test.assertIsNone(re.search(r"\bnan\b", source))
    ids = page.values("id")
    test.assertLen(set(ids), len(ids))
    local = re.findall(r'(?:href="#|url\(#)([^")]+)', source)
    test.assertEqual(set(local) - set(ids), set())
    pictures = re.findall(r"<svg [^>]*>", source)
    described = re.findall(r'<svg role="img" aria-label="([^"]{20,})"', source)
    test.assertLen(set(described), len(pictures))
    return page


def words(source):
    """What is read on a page, without elements and with plain spaces."""
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", source, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text))


def check_terms(test, source, expected):
    """Each term is defined once, where it first stands; these are among them."""
    source = re.sub(r"D<sub>(\w+)</sub>", r"D_\1", source)
    # The rows of the picture belong to its caption; titles are no sentences.
    for other in ("svg", "head", "header", "h2", "th"):
        source = re.sub(rf"<{other}\b.*?</{other}>", "", source, flags=re.DOTALL)
    terms = [words(at) for at in re.findall("<dfn>(.*?)</dfn>", source)]
    test.assertContainsSubset(expected, terms)
    text = words(source.replace("<dfn>", "\0").replace("</dfn>", ""))
    for term in terms:
        first = re.search(rf"(?i)\0?(?<![\w’'])\b{term}\b(?!\w)", text)
        test.assertStartsWith(first[0], "\0", f"{term}: {text[: first.end()][-90:]}")
    test.assertLen(set(terms), len(terms))


def verdicts(source):
    """Verdicts of a page's claims, and where each leads."""
    found = re.findall(
        r'class="verdict">(?:<a class="mark" href="(.*?)">)?(.*?)<', source
    )
    return [(verdict.split(":")[0].strip("."), address) for address, verdict in found]


CIFAR = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Standard accuracy of the paper's networks and how it falls with the radius.
NETWORKS = {
    "standard": ("D", "standard", 0.95, 3.0),
    "robust": ("D", "adversarial", 0.90, 0.3),
    "on_D_R": ("D_R", "standard", 0.84, 0.9),
    "on_D_NR": ("D_NR", "standard", 0.87, 3.2),
    "on_D_rand": ("D_rand", "standard", 0.63, 2.9),
    "on_D_det": ("D_det", "standard", 0.43, 2.7),
}
MATCH = {"steps": 1000, "step_size": 0.1, "start": "image", "identity_relu": False}
ATTACK = {"norm": "l2", "epsilon": 0.5, "steps": 100, "step_size": 0.1}


def counted(correct, total=500):
    """So many right images: the first ones, as if the others were the hard ones."""
    right = pack(np.arange(total) < correct)
    return {"correct": correct, "total": total, "right": right}


def fake_row(network, trained_on, correct, training="standard", **more):
    """A row of results: without attack, of seed 0 and the test set, unless said."""
    epsilon = more.get("epsilon", 0.0)
    return {
        **dict(network=network, trained_on=trained_on, training=training, seed=0),
        **dict(tested_on="test", epsilon=0.0, steps=100 if epsilon else 0),
        **dict(attack="pgd" if epsilon else "none", norm="l2" if epsilon else None),
        **counted(correct, more.get("total", 500)),
        **more,
    }


def fake_evidence(correct, withstood, total=500, **changes):
    """That of a sound attack of radius 0.5, all of whose checks were made."""
    return {
        **{name: Evidence._field_defaults.get(name, 0) for name in Evidence._fields},
        **dict(norm="l2", epsilon=0.5, total=total, correct=correct),
        **dict(withstood=withstood, chance=0.1, commonest=0.1, crossings=2.5),
        **dict(largest=0.4999, rounding=1e-5, large_epsilon=4.0, large_withstood=0),
        **dict(lost_to_more_steps=0, lost_to_other=0, planted=64, found=64),
        **dict(shattered=0, reversed=0, replaced=0),
        **changes,
    }


def fake_autoattack(network, seed, counts, total=1000, only_blind=0, **evidence):
    """An entry of AutoAttack: `counts` are right, left by APGD-CE, and by all of it.

    PGD leaves seven images more than APGD-CE; `evidence` changes that of PGD.
    """
    clean, first, last = counts
    seen = fake_evidence(clean, first + 7, total, **evidence)
    strongest = fake_evidence(
        clean,
        last,
        total,
        largest=0.4998,
        only_blind=only_blind,
        **dict(lost_to_other=None, lost_to_more_steps=None, large_withstood=None),
    )
    withstood = {"clean": clean, "apgd-ce": first}
    return {
        **dict(network=network, seed=seed, norm="l2", epsilon=0.5, total=total),
        "evidence": {"pgd": seen, "autoattack": strongest},
        "withstood": withstood | dict.fromkeys(("apgd-t", "fab-t", "square"), last),
        "right": counted(last, total)["right"],
        "pgd_right": counted(first + 7, total)["right"],
    }


def fake_network(name, trained_on, group="main", training="standard", title=None):
    """An entry of the list of networks."""
    title = title or (f"D, {training}" if trained_on == "D" else trained_on)
    return {
        **dict(name=name, title=title, trained_on=trained_on, training=training),
        **dict(group=group, text=""),
    }


def fake_set(name, group="main", title=None, source=("standard",)):
    """An entry of the list of sets."""
    return {
        **dict(name=name, title=title or name, group=group, of="D"),
        **dict(source=list(source), text=f"how {name} is made"),
    }


def fake_results(
    data="digits",
    classes=tuple("0123456789"),
    seeds=(0, 1, 2),
    norm="l2",
    epsilons=(0.25, 0.5, 1.0),
    total=500,
    epochs=20,
):
    """Results like a real run's, every number of which is known."""
    chance, largest = 1 / len(classes), max(epsilons, default=1)
    rows, history, constructed = [], {}, []
    for seed in seeds:
        for name, (trained_on, training, clean, fall) in NETWORKS.items():
            clean = chance + (clean - 0.1) / 0.9 * (1 - chance) + 0.004 * (seed - 1)
            for epsilon in (0.0, *epsilons):
                accuracy = min(1, clean * math.exp(-fall * epsilon / largest))
                at = {"epsilon": epsilon, "norm": norm if epsilon else None}
                correct = round(total * accuracy)
                of = {"training": training, "seed": seed, "total": total}
                rows.append(fake_row(name, trained_on, correct, **of, **at))
            history[f"seed{seed}/{name}"] = [
                {
                    "epoch": epoch,
                    "loss": 2 * 0.9**epoch,
                    "accuracy": 1 - (1 - chance) * 0.8**epoch,
                    "test_accuracy": clean - (clean - chance) * 0.85**epoch,
                }
                for epoch in range(1, epochs + 1)
            ]
        for name in ("D_R", "D_NR"):
            measured = {"start_distance": 4.1, "final_distance": 0.3}
            entry = {"set": name, "seed": seed, "settings": MATCH}
            constructed.append(entry | measured)
        for name in ("D_rand", "D_det"):
            settings = {"attack": ATTACK, "identity_relu": True}
            measured = {"reached_target": 0.97, "max_norm": 0.5}
            constructed.append(
                {"set": name, "seed": seed, "settings": settings} | measured
            )
    sets = [fake_set(name) for name in ("D_R", "D_NR", "D_rand", "D_det")]
    attack = {"norm": norm, "epsilon": largest, "steps": 7, "step_size": 0.1}
    return {
        "name": data,
        "data": data,
        "data_note": "images made up for a test",
        "classes": list(classes),
        "config": {
            "network": {"kind": "nrf.models.architectures.Small"},
            "networks": {"standard": {"attack": None}, "robust": {"attack": attack}},
            "sets": [
                {"name": "D_R", "recipe": {"kind": "Match", **MATCH}},
                {"name": "D_rand", "recipe": {"kind": "Mislabel", "attack": ATTACK}},
            ],
            "evaluation": {"norm": norm},
            "train_examples": None,
        },
        "reported_epsilon": min(
            epsilons, key=lambda e: abs(e - largest / 2), default=None
        ),
        "networks": [
            fake_network(name, trained_on, training=training)
            for name, (trained_on, training, *_) in NETWORKS.items()
        ],
        "sets": sets,
        "constructed": constructed,
        "versions": {"python": "3.11.7", "nrf": "0.1.0", "jax": "0.10.2"},
        "device": "cpu x 1 (2 cores)",
        "date": "2026-11-22",
        "git": "abc1234",
        "command": f"python scripts/run.py configs/{data}.py --out runs/{data}",
        "seconds": {f"seed{seed}/standard": 3.1 for seed in seeds},
        "history": history,
        "rows": rows,
    }


def with_accuracy(results, trained_on, accuracy, attack, epsilon=None):
    """The same results, with another accuracy of one network, at one radius or all."""
    rows = [
        {**row, **counted(round(accuracy * row["total"]), row["total"])}
        if (row["trained_on"], row["attack"]) == (trained_on, attack)
        and epsilon in (None, row["epsilon"])
        else row
        for row in results["rows"]
    ]
    return {**results, "rows": rows}


def without_plots(results, attacks=("none",)):
    """A page of these is quick to make: plots are what takes the time."""
    rows = [row for row in results["rows"] if row["attack"] in attacks]
    return {**results, "rows": rows, "history": {}}
