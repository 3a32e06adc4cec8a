"""AutoAttack and evidence of the experiment's networks, from stages to the page."""

import contextlib
import dataclasses
import re
import shutil
import tempfile
from html import unescape
from pathlib import Path

import numpy as np
from absl.testing import parameterized
from main_test import tiny
from report_test import CIFAR, fake_results

from nrf import data
from nrf.config import Suite
from nrf.evaluate import Evidence
from nrf.experiments import build, main
from nrf.report import autoattack
from nrf.report.claims import NOT_SHOWN, SHOWN
from nrf.report.results import measures
from nrf.report.table import table
from nrf.runs import formats

SUITE = Suite(images=30, steps=3, targets=2, queries=5, batch_size=20)


class StagesTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.out = Path(folder.name) / "run"
        cls.config = tiny(suite=SUITE)
        cls.results = main.run(cls.config, cls.out)
        _, test_set = data.load("digits", train_examples=60, test_examples=40)
        # Evenly spaced: 30 of 40.
        rows = np.arange(30) * 40 // 30
        cls.images, cls.labels = test_set.images[rows], test_set.labels[rows]

    def test_every_network_once(self):
        found = [(e["trained_on"], e["training"]) for e in self.results["suite"]]
        rows = [(r["trained_on"], r["training"]) for r in self.results["rows"]]
        self.assertEqual(found, list(dict.fromkeys(rows)))
        for entry in self.results["suite"]:
            self.assertEqual((entry["epsilon"], entry["total"]), (0.5, 30))
            counts = list(entry["withstood"].values())
            self.assertEqual(sorted(counts, reverse=True), counts)

    def test_counts_are_what_the_network_says_of_the_images_kept(self):
        model = build.network(self.config.network, 10)
        for name, entry in zip(
            ("standard", "robust"), self.results["suite"], strict=False
        ):
            folder = self.out / "seed0"
            params = formats.TRAINED.load(folder / name).params
            images = np.array(self.images)
            for part in entry["withstood"]:
                made = formats.ARRAYS.load(folder / f"suite_{name}_{part}")
                images[made["indices"]] = made["images"]
            moved = (images - self.images).reshape(30, -1)
            self.assertLessEqual(np.linalg.norm(moved, axis=1).max(), 0.5 + 1e-5)
            said = np.asarray(model.apply(params, images).logits.argmax(-1))
            right = said == self.labels
            self.assertEqual(entry["withstood"]["square"], right.sum())
            clean = np.asarray(model.apply(params, self.images).logits.argmax(-1))
            self.assertEqual(entry["withstood"]["clean"], (clean == self.labels).sum())
            for seen in entry["evidence"].values():
                self.assertEqual(seen["correct"], (clean == self.labels).sum())

    def test_evidence_of_pgd(self):
        for entry in self.results["suite"]:
            seen = Evidence.from_dict(entry["evidence"]["pgd"])
            self.assertEqual((seen.norm, seen.epsilon, seen.total), ("l2", 0.5, 30))
            self.assertEqual(seen.crossings, 2.5)
            self.assertLessEqual(seen.largest, 0.5 + seen.rounding)
            for checked in ("large_withstood", "lost_to_more_steps"):
                self.assertIsNotNone(getattr(seen, checked))
            # Whom AutoAttack leaves has withstood PGD, or is what only PGD fools.
            left = entry["withstood"]["square"]
            self.assertGreaterEqual(seen.lost_to_other, seen.withstood - left)

    def test_evidence_of_autoattack(self):
        for entry in self.results["suite"]:
            seen = Evidence.from_dict(entry["evidence"]["autoattack"])
            counts = entry["withstood"]
            self.assertEqual(seen.withstood, counts["square"])
            self.assertEqual(seen.only_blind, counts["fab-t"] - counts["square"])
            self.assertLessEqual(seen.largest, 0.5 + seen.rounding)
            self.assertIsNone(seen.crossings)

    def test_rows_carry_their_evidence(self):
        rows = [row for row in self.results["rows"] if row["epsilon"]]
        self.assertLen(rows, 6)
        for row in rows:
            seen = Evidence.from_dict(row["evidence"])
            self.assertEqual((seen.withstood, seen.total), (row["correct"], 40))
            for checked in ("large_withstood", "lost_to_more_steps", "lost_to_other"):
                self.assertIsNotNone(getattr(seen, checked))

    def test_an_interrupted_sequence_goes_on_where_it_was(self):
        done = self.out / "seed0"
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            shutil.copytree(self.out, out)
            gone = ["evidence_robust", "suite_robust_square", "suite_robust_fab-t"]
            for name in gone:
                shutil.rmtree(out / "seed0" / name)
            made = []

            def progress(stage, examples):
                made.append(stage)
                return contextlib.nullcontext(lambda done: None)

            again = main.run(self.config, out, progress=progress)
            self.assertEqual(again["suite"], self.results["suite"])
            self.assertEqual(made, [f"seed 0: {name}" for name in reversed(gone)])
            for name in gone[1:]:
                first = formats.ARRAYS.load(done / name)
                second = formats.ARRAYS.load(out / "seed0" / name)
                np.testing.assert_array_equal(first["images"], second["images"])

    def test_a_second_run_and_other_batches_make_nothing_again(self):
        def progress(stage, examples):
            self.fail(f"{stage} is made again")

        suite = dataclasses.replace(SUITE, batch_size=12)
        config = dataclasses.replace(self.config, suite=suite)
        again = main.run(config, self.out, progress=progress)
        self.assertEqual(again["suite"], self.results["suite"])

    def test_a_run_may_refuse(self):
        # Networks that were hardly trained are no better than chance.
        training = dataclasses.replace(self.config.standard, learning_rate=1e-6)
        evaluation = dataclasses.replace(self.config.evaluation, refuse=True)
        config = tiny(standard=training, evaluation=evaluation)
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, "not believable.*\n.*chance"):
                main.run(config, Path(out))
            # The numbers are kept for whom wants to see what is wrong.
            config = dataclasses.replace(
                config, evaluation=dataclasses.replace(evaluation, refuse=False)
            )
            results = main.run(config, Path(out))
        verdicts = [r["evidence"]["verdict"] for r in results["rows"] if r["epsilon"]]
        self.assertIn("no better than chance", verdicts[0])

    def test_batches_are_refused_before_any_work(self):
        config = tiny(devices=4, suite=dataclasses.replace(SUITE, batch_size=10))
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, "divided over 4 devices"):
                main.run(config, Path(out))
            self.assertEmpty(list(Path(out).rglob("*")))

    def test_bad_numbers_are_refused(self):
        with self.assertRaisesRegex(ValueError, "queries must be at least 1, got 0"):
            Suite(images=1, queries=0)
        with self.assertRaisesRegex(ValueError, "batch_size must be at least 2, got 1"):
            Suite(images=1, batch_size=1)


class ReportTest(parameterized.TestCase):
    def entry(self, trained_on, training, seed, withstood, only_blind=0, **evidence):
        total = 1000
        counts = dict(zip(("clean", "apgd-ce", "apgd-t"), withstood, strict=False))
        seen = {
            **dict.fromkeys(Evidence._fields, 0),
            **dict(norm="l2", epsilon=0.5, total=total, correct=withstood[0]),
            **dict(withstood=withstood[1] + 7, chance=0.1, commonest=0.1),
            **dict(largest=0.4999, rounding=1e-5, crossings=2.5, large_epsilon=4.0),
            **evidence,
        }
        strongest = {
            **seen,
            **dict(withstood=withstood[2], largest=0.4998, only_blind=only_blind),
            **dict(lost_to_other=None, lost_to_more_steps=None, large_withstood=None),
        }
        return {
            **dict(trained_on=trained_on, training=training, seed=seed, norm="l2"),
            **dict(epsilon=0.5, total=total),
            "evidence": {"pgd": seen, "autoattack": strongest},
            "withstood": {**counts, "fab-t": withstood[2], "square": withstood[2]},
        }

    def results(self, d_r=(977, 550, 532), data="digits", **evidence):
        classes = {"classes": CIFAR} if data == "cifar10" else {}
        results = fake_results(data=data, **classes)
        results["config"]["suite"] = dataclasses.asdict(Suite(images=1000))
        found = []
        for seed in (0, 1):
            found += [
                self.entry("D", "standard", seed, (993, 420, 401)),
                self.entry("D", "adversarial", seed, (965, 780, 771)),
                self.entry("D_R", "standard", seed, d_r, **evidence),
            ]
        return {**results, "suite": found}

    def words(self, results):
        plain = unescape(re.sub(r"<[^>]*>", " ", autoattack.section(results)))
        return " ".join(plain.split())

    def test_nothing_where_it_was_not_run(self):
        self.assertEqual(autoattack.section(fake_results()), "")

    def test_numbers_side_by_side(self):
        page = self.words(self.results())
        self.assertIn("D R 53.2 % [50.1, 56.3] (PGD: 55.7 %)", page)
        self.assertIn(
            "D R 97.7 % [96.6, 98.5] ± 0.0 55.7 % [52.6, 58.8] ± 0.0 ✓ 55.0 %", page
        )
        self.assertIn(
            "D R believable 0.0 % 0.0 % 0.0 % 0.0 % believable 0.0 % 0.9996 ε", page
        )
        self.assertNotIn("RobustBench", page)
        self.assertIn("RobustBench", self.words(self.results(data="cifar10")))

    @parameterized.parameters(
        ((977, 550, 532), SHOWN),
        ((977, 550, 420), NOT_SHOWN),  # As D's.
        ((977, 550, 90), NOT_SHOWN),  # Below chance.
    )
    def test_verdict_on_d_r(self, d_r, expected):
        groups = autoattack.by_network(self.results(d_r)["suite"])
        self.assertEqual(autoattack.judge(groups, 0.1).verdict, expected)

    def test_what_is_wrong_is_named_with_its_sentence(self):
        page = self.words(self.results(largest=0.6, lost_to_other=200))
        self.assertIn("D R outside the ball, beaten by another attack", page)
        self.assertIn(
            "D R , seed 1, PGD: outside the ball. A perturbation has l2 norm 0.6", page
        )
        page = self.words(self.results(only_blind=200))
        self.assertIn("D R , seed 0, AutoAttack: gradients mislead. 200 of 1000", page)

    def test_the_main_table_says_what_autoattack_found(self):
        results = self.results(lost_to_other=200)
        groups = measures(results)
        marked = [
            (network.label, column.label, measure.wrong)
            for network, cells in groups.items()
            for column, measure in cells.items()
            if measure.wrong is not None
        ]
        self.assertEqual(
            marked,
            [
                ("D, standard", "ε = 0.5", ()),
                ("D, adversarial", "ε = 0.5", ()),
                ("D_R", "ε = 0.5", ("beaten by another attack",)),
            ],
        )
        text = table(results)
        self.assertIn("✗ beaten by another attack |", text)
        self.assertIn("✗ names what does", text)
        self.assertNotIn("✗", table(fake_results()))
