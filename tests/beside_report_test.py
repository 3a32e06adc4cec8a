"""The sections of other tables and of controls, from invented results."""

import dataclasses
import re
from html import unescape

import numpy as np
from absl.testing import parameterized
from report_test import CIFAR, fake_results

from nrf.config import Appendix
from nrf.report import controls, tables
from nrf.report.claims import NOT_SHOWN, SHOWN
from nrf.report.main import html

SEEDS = (0, 1, 2)


def row(trained_on, correct, *, seed=0, on="test", epsilon=0.0, steps=0, **more):
    return {
        "trained_on": trained_on,
        "training": "standard",
        "seed": seed,
        "tested_on": on,
        "attack": "pgd" if epsilon else "none",
        "norm": "l2" if epsilon else None,
        "epsilon": epsilon,
        "steps": steps,
        "correct": correct,
        "total": 500,
        **more,
    }


def rows(trained_on, correct, **options):
    """The same in every seed."""
    return [row(trained_on, correct, seed=seed, **options) for seed in SEEDS]


def with_appendix(results):
    config = {**results["config"]}
    config["appendix"] = dataclasses.asdict(Appendix(second_test="cifar10_1/v6"))
    at = {"epsilon": 0.5, "steps": 100}
    found = [
        *rows("D_rand_robust", 125),
        *rows("D_det_robust", 30),
        *rows("D_det", 81, on="relabelled"),
        *rows("D_det_robust", 327, on="relabelled"),
        *rows("D_R_noise", 400),
        *rows("D_R_noise", 241, **at),
        *rows("D_R", 386, on="D_R", **at),
        *rows("D_R", 312, on="D_R_test", **at),
        *rows("D_R", 240, epsilon=0.5, steps=20),
        *rows("D_R", 230, epsilon=0.5, steps=320),
        *rows("D_R", 233, epsilon=0.5, steps=320, attack="pgd margin"),
        *rows("D_rand", 275, on="second_test"),
        *rows("D_rand", 1, on="second_test", **at),
    ]
    sets = [
        {"set": "D_det_robust", "seed": seed, "reached_target": 0.345} for seed in SEEDS
    ]
    return {**results, "config": config, "appendix": found, "sets": sets}


def confusion(correct, spread):
    """[10][10] of 500 images; the wrong ones on so many of the other classes."""
    found = np.zeros((10, 10), int)
    for k, right in enumerate(np.diff(np.linspace(0, correct, 11).astype(int))):
        found[k, k] = right
        others = [(k + 1 + i) % 10 for i in range(spread)]
        for i in range(50 - right):
            found[k, others[i % spread]] += 1
    return found.tolist()


def with_controls(results, spread=9, **correct):
    found = {
        "D_rand_shaken": 50,
        "D_det_shaken": 0,
        "D_errors": 248,
        "D_bugs": 14,
        **correct,
    }
    return {
        **results,
        "controls": [
            row
            for name, count in found.items()
            for row in rows(name, count, confusion=confusion(count, spread))
        ],
        "bugs": [
            {
                "seed": 0,
                "total": 1000,
                "D_det": {"standard": 999, "fresh": 825},
                "D_bugs": {"standard": 993, "fresh": 17},
            }
        ],
        "sets": [
            {
                "set": "D_det_shaken",
                "seed": 0,
                "mean_norm": 0.5,
                "mean_norm_noise": 0.5,
            },
            {"set": "D_errors", "seed": 0, "wrong": 0.375},
        ],
    }


def words(page):
    plain = unescape(re.sub(r"<[^>]*>", " ", page))
    return " ".join(plain.split())


class AppendixTest(parameterized.TestCase):
    def test_nothing_where_a_run_has_none(self):
        self.assertEqual(tables.tables(fake_results()), "")
        self.assertNotIn("other rows", html(fake_results(), {}))

    def test_every_number_is_said(self):
        page = words(tables.tables(with_appendix(fake_results())))
        for said in (
            "D rand , robust source 25.0 %",
            "D det , robust source 6.0 %",  # Of the true labels,
            "65.4 %",  # of the next class,
            "34.5 %",  # and how many targets were reached.
            "16.2 %",
            "D R , from noise 80.0 %",
            "48.2 %",
            "D R , which it was trained on 77.2 %",
            "D R made of the test images 62.4 %",
            "from 20 to 320 steps it loses 2.0 points",
            "standard, on cifar10_1/v6",
            "55.0 %",
        ):
            self.assertIn(said, page)

    def test_the_paper_is_beside_cifar10_alone(self):
        digits, cifar = (
            words(tables.tables(with_appendix(fake_results(**data))))
            for data in ({}, {"data": "cifar10", "classes": CIFAR})
        )
        for printed in ("63.3 %", "65.5 %", "48.27 %", "77.33 %", "62.49 %"):
            self.assertIn(printed, cifar)
            self.assertNotIn(printed, digits)

    def test_parts_are_there_by_themselves(self):
        results = with_appendix(fake_results())
        for on in ("relabelled", "D_R", "second_test"):
            part = [r for r in results["appendix"] if r["tested_on"] == on]
            tables.tables({**results, "appendix": part})


class ControlsTest(parameterized.TestCase):
    def verdicts(self, results):
        return [claim.verdict for claim in controls.judge(results)]

    def test_nothing_where_a_run_has_none(self):
        self.assertEqual(controls.section(fake_results()), "")

    def test_all_shown(self):
        results = with_controls(fake_results())
        self.assertEqual(self.verdicts(results), [SHOWN] * 3)
        page = words(controls.section(results))
        for said in (
            "D rand , random push 10.0 %",
            "moved at random, by 0.5",
            "the 37.5 % that a network got wrong",
            "takes 99.9 % of D det 's images for their new label and 99.3 % of these",
            "one of another seed 82.5 % and 1.7 %",
        ):
            self.assertIn(said, page)

    @parameterized.parameters(
        (0, {"D_rand_shaken": 80}),  # Above chance.
        (0, {"D_det_shaken": 230}),  # As good as the attack.
        (1, {"D_errors": 50}),  # As by chance.
        (2, {"D_bugs": 215}),  # As good as D_det.
    )
    def test_not_shown(self, which, changes):
        found = self.verdicts(with_controls(fake_results(), **changes))
        expected = [SHOWN] * 3
        expected[which] = NOT_SHOWN
        self.assertEqual(found, expected)

    def test_chance_is_wide_where_a_class_has_one_label(self):
        # Everything else of a class goes to one label: by luck it is the right one.
        narrow, wide = (
            controls.by_chance(
                with_controls(fake_results(), spread, D_rand_shaken=0), "D_rand_shaken"
            )
            for spread in (9, 1)
        )
        # 50 of 500 images for each label in its place, one on average, in three seeds:
        # a Poisson number of mean 3.
        self.assertEqual(wide[0], 0)
        self.assertAlmostEqual(wide[1], 0.1 * 7 / 3, delta=0.1 / 3 + 1e-9)
        self.assertLess(narrow[1], 0.12)
        results = with_controls(fake_results(), 1, D_rand_shaken=80, D_errors=60)
        self.assertEqual(self.verdicts(results), [SHOWN, NOT_SHOWN, SHOWN])

    def test_published_numbers_are_beside_cifar10_alone(self):
        digits, cifar = (
            words(controls.section(with_controls(fake_results(**data))))
            for data in ({}, {"data": "cifar10", "classes": CIFAR})
        )
        for printed in ("Wallace, ResNet-18: 49.7 %", "33.2 % and 2.8 %"):
            self.assertIn(printed, cifar)
            self.assertNotIn(printed, digits)
