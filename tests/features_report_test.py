"""The page's section on features: shares, plots and words."""

import dataclasses
import re

import numpy as np
from absl.testing import absltest

from nrf import features
from nrf.config import Features
from nrf.report import features as framework


def entry(network, seed, verdicts, gamma=0.2):
    return {
        "network": network,
        "seed": seed,
        "images": 250,
        "constant": [3, 7],
        "layer_robustness": 0.25 if network == "robust" else 0.5,
        "rows": [
            {"rho": 0.5, "gamma_attacked": gamma, "verdict": verdict}
            for verdict in verdicts
        ],
    }


def results(certificate=None):
    settings = Features("l2", 0.5, images=250, certificate=certificate)
    return {
        "config": {"features": dataclasses.asdict(settings)},
        "features": [
            entry("standard", 0, ["useful, not robust"] * 3 + ["undecided"], -7.0),
            entry("standard", 1, ["useful, not robust"] * 3 + ["not useful"], -0.3),
            entry("robust", 0, ["robustly useful"] * 4),
            entry("robust", 1, ["robustly useful"] * 3 + ["undecided"]),
        ],
    }


class FrameworkTest(absltest.TestCase):
    def test_nothing_where_nothing_was_measured(self):
        self.assertEqual(framework.features({"features": []}), "")
        self.assertEqual(framework.features({}), "")

    def test_shares_of_all_pairs_and_seeds(self):
        groups = {
            name: [e for e in results()["features"] if e["network"] == name]
            for name in framework.NETWORKS
        }
        head, rows = framework.shares(groups)
        self.assertEqual(
            head[1:-3],
            ["robustly useful", "useful, not robust", "undecided", "not useful"],
        )
        self.assertEqual(rows[0][1:5], ["0.0 %", "75.0 %", "12.5 %", "12.5 %"])
        self.assertEqual(rows[1][1:5], ["87.5 %", "0.0 %", "12.5 %", "0.0 %"])
        self.assertEqual([row[-3:] for row in rows][0], ["8", "4", "0.500"])

    def test_every_verdict_has_a_look(self):
        self.assertEqual(set(framework.VERDICTS), set(features.VERDICTS))

    def test_page(self):
        section = framework.features(results())
        self.assertEqual(section.count("<svg"), 3)
        self.assertEqual(section.count("aria-label"), 3)
        words = re.sub(r"<svg.*?</svg>|<[^>]+>", "", section, flags=re.DOTALL)
        words = " ".join(words.split())
        self.assertIn("ε = 0.5, 20 steps, 250 test images", words.replace("\xa0", " "))
        self.assertIn("and seed", words)
        self.assertIn("No certificate was asked for", words)
        self.assertIn("Certified means", framework.features(results("linear")))

    def test_what_is_below_the_frame_is_at_its_edge(self):
        drawn = framework.scatter("standard", results()["features"][:2])
        self.assertIn("8 pairs of unit and class", drawn)
        heights = [float(y) for y in re.findall(r'<use [^>]*y="([\d.]+)"', drawn)]
        self.assertLess(np.ptp(heights), 400)
