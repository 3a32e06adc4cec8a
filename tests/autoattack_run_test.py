"""AutoAttack and evidence of an experiment's networks: made, kept, resumed, refused."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import helpers
import numpy as np
from absl.testing import parameterized
from helpers import AUTOATTACK, tiny

from nrf import data, runs
from nrf.config import AutoAttack, Work
from nrf.evaluate import Evidence
from nrf.evaluate.statistics import unpack
from nrf.experiments import main, plan
from nrf.runs import store


class RunTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = helpers.folder_of(cls) / "run"
        cls.config = tiny(evaluation=helpers.THOROUGH, autoattack=AUTOATTACK)
        cls.planned, cls.heard = plan(cls.config, cls.out), helpers.Recorder()
        cls.results = main.run(cls.config, cls.out, progress=cls.heard)
        _, test_set = data.load("digits", train_examples=60, test_examples=40)
        # Evenly spaced: 30 of 40.
        rows = np.arange(30) * 40 // 30
        cls.images, cls.labels = test_set.images[rows], test_set.labels[rows]

    def test_every_network_once(self):
        entries = self.results["autoattack"]
        networks = [entry["network"] for entry in entries]
        self.assertEqual(networks, [e["name"] for e in self.results["networks"]])
        for entry in entries:
            self.assertEqual((entry["epsilon"], entry["total"]), (0.5, 30))
            counts = list(entry["withstood"].values())
            self.assertEqual(sorted(counts, reverse=True), counts)

    def test_counts_are_what_the_network_predicts_for_the_images_kept(self):
        run = runs.load(self.out)
        for entry in self.results["autoattack"][:2]:
            network = run.network(entry["network"])
            images = np.array(self.images)
            for part in entry["withstood"]:
                made = store.load(
                    self.out / "seed0" / f"autoattack_{entry['network']}_{part}"
                )
                images[made["indices"]] = made["images"]
            moved = (images - self.images).reshape(30, -1)
            self.assertLessEqual(np.linalg.norm(moved, axis=1).max(), 0.5 + 1e-5)
            right = np.asarray(network(images).argmax(-1)) == self.labels
            self.assertEqual(entry["withstood"]["square"], right.sum())
            np.testing.assert_array_equal(unpack(entry["right"], 30), right)
            clean = np.asarray(network(self.images).argmax(-1)) == self.labels
            self.assertEqual(entry["withstood"]["clean"], clean.sum())
            for seen in entry["evidence"].values():
                self.assertEqual(seen["correct"], clean.sum())

    def test_evidence_of_pgd(self):
        for entry in self.results["autoattack"]:
            seen = Evidence.from_dict(entry["evidence"]["pgd"])
            self.assertEqual((seen.norm, seen.epsilon, seen.total), ("l2", 0.5, 30))
            self.assertEqual(seen.crossings, 2.5)
            self.assertLessEqual(seen.largest, 0.5 + seen.rounding)
            for checked in ("large_withstood", "lost_to_more_steps"):
                self.assertIsNotNone(getattr(seen, checked))
            # Whom AutoAttack leaves has withstood PGD, or is what only PGD fools.
            left = entry["withstood"]["square"]
            right = unpack(entry["pgd_right"], 30)
            self.assertEqual(right.sum(), seen.withstood)
            lost = right & ~unpack(entry["right"], 30)
            self.assertGreaterEqual(seen.lost_to_other, lost.sum())
            self.assertGreaterEqual(seen.lost_to_other, seen.withstood - left)

    def test_evidence_of_autoattack(self):
        for entry in self.results["autoattack"]:
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

    def test_it_was_planned_so(self):
        helpers.check_planned(self, self.planned, self.heard)

    def test_an_interrupted_sequence_goes_on_where_it_was(self):
        done = self.out / "seed0"
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            shutil.copytree(self.out, out)
            gone = [
                "autoattack_robust_fab-t",
                "autoattack_robust_square",
                "evidence_robust",
            ]
            for name in gone:
                shutil.rmtree(out / "seed0" / name)
            heard = helpers.Recorder()
            again = main.run(self.config, out, progress=heard)
            self.assertEqual(again["autoattack"], self.results["autoattack"])
            self.assertEqual(list(heard.begun), [f"seed0/{name}" for name in gone])
            for name in gone[:2]:
                first, second = (
                    store.load(done / name),
                    store.load(out / "seed0" / name),
                )
                np.testing.assert_array_equal(first["images"], second["images"])

    def test_a_second_run_and_other_batches_make_nothing_again(self):
        heard = helpers.Recorder()
        work = replace(self.config.work, autoattack_batch=12)
        again = main.run(replace(self.config, work=work), self.out, progress=heard)
        self.assertEqual(again["autoattack"], self.results["autoattack"])
        self.assertEmpty(heard.begun)

    def test_other_settings_are_refused_by_name(self):
        config = replace(self.config, autoattack=replace(AUTOATTACK, queries=6))
        with self.assertRaisesRegex(ValueError, "made with settings.queries=5; .* 6"):
            main.run(config, self.out)

    def test_a_run_may_refuse(self):
        # Networks that were hardly trained are no better than chance.
        training = replace(helpers.TRAINING, learning_rate=1e-6)
        config = tiny(networks={"standard": training}, sets=())
        refusing = replace(config, work=replace(config.work, refuse=True))
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, "not believable.*\n.*chance"):
                main.run(refusing, out)
            # The numbers are kept for whoever wants to see what is wrong.
            results = main.run(config, out)
            verdicts = [
                row["evidence"]["verdict"] for row in results["rows"] if row["epsilon"]
            ]
            self.assertIn("no better than chance", verdicts[0])
            with self.assertRaisesRegex(ValueError, "not believable"):
                main.run(refusing, out)

    def test_nothing_without_a_radius(self):
        evaluation = replace(self.config.evaluation, epsilons=())
        config = tiny(
            networks={"standard": helpers.TRAINING},
            sets=(),
            evaluation=evaluation,
            autoattack=AUTOATTACK,
        )
        with tempfile.TemporaryDirectory() as out:
            results = main.run(config, out)
        self.assertEqual(results["autoattack"], [])
        self.assertIsNone(results["reported_epsilon"])

    def test_bad_numbers_are_refused(self):
        with self.assertRaisesRegex(ValueError, "queries must .* at least 1, got 0"):
            AutoAttack(images=1, queries=0)
        with self.assertRaisesRegex(ValueError, "_batch must .* at least 2, got 1"):
            Work(autoattack_batch=1)
