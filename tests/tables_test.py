"""The other rows of the paper's tables: their sets, and what their rows count."""

import tempfile
from dataclasses import replace
from pathlib import Path

import helpers
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from helpers import tiny

from nrf import attacks, data, losses, runs
from nrf.config import Tables
from nrf.experiments import climbs, main, plan


class TablesTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = helpers.folder_of(cls) / "run"
        cls.config = tiny(tables=helpers.tables())
        cls.planned, cls.heard = plan(cls.config, cls.out), helpers.Recorder()
        cls.results = main.run(cls.config, cls.out, progress=cls.heard)
        cls.loaded = runs.load(cls.out)
        cls.train_set, cls.test_set = data.load(
            "digits", train_examples=60, test_examples=40
        )

    def predicted(self, name, images):
        return np.asarray(self.loaded.network(name)(images).argmax(-1))

    def rows(self, **fields):
        return [
            row
            for row in self.results["tables"]
            if all(row[name] == value for name, value in fields.items())
        ]

    def test_rows_of_the_main_experiment_stay_the_six_networks(self):
        self.assertLen(self.results["rows"], 6 * 2)
        self.assertEqual({row["tested_on"] for row in self.results["rows"]}, {"test"})

    def test_every_row_is_there_once(self):
        rows = self.results["tables"]
        names = "network tested_on attack norm epsilon steps seed".split()
        self.assertLen({tuple(row[name] for name in names) for row in rows}, len(rows))
        # Sets: 2 without attack, 2 with; relabelled: 2; elsewhere: 2 x 2; strength: 4.
        self.assertLen(rows, 2 + 2 * 2 + 2 + 4 + 4)
        self.assertEqual({row["seed"] for row in rows}, {0})

    def test_their_networks_and_sets_are_told_as_a_group(self):
        for part, count in (("networks", 4), ("sets", 5)):
            groups = [entry["group"] for entry in self.results[part]]
            self.assertEqual(groups.count("tables"), count)
            self.assertEqual(sorted(groups), groups)
        made = [of["set"] for of in self.results["constructed"]]
        self.assertEqual(made, [entry["name"] for entry in self.results["sets"]])
        (test,) = (s for s in self.results["sets"] if s["name"] == "D_R_test")
        self.assertEqual(test["of"], "test")

    def test_robust_sources_are_attacked_themselves(self):
        for name in ("D_rand_robust", "D_det_robust"):
            made = self.loaded.set(name)
            moved = (made.images - self.train_set.images).reshape(60, -1)
            self.assertLessEqual(np.linalg.norm(moved, axis=1).max(), 1 + 1e-5)
            self.assertEqual(made.provenance["source"], "robust")

            def towards(images, made=made):
                logits = self.loaded.network("robust")(images)
                logits = np.asarray(jax.nn.log_softmax(logits))
                return logits[np.arange(60), made.labels].mean()

            self.assertGreater(towards(made.images), towards(self.train_set.images))
            # `attacked` is False.
            (row,) = self.rows(network=f"on_{name}", tested_on="test")
            self.assertEqual(row["attack"], "none")
        expected = (self.train_set.labels + 1) % 10
        np.testing.assert_array_equal(self.loaded.set("D_det_robust").labels, expected)

    def test_relabelled_rows_count_the_class_after_the_true_one(self):
        for name in ("on_D_det", "on_D_det_robust"):
            predicted = self.predicted(name, self.test_set.images)
            next_class = (self.test_set.labels + 1) % 10
            (row,) = self.rows(network=name, tested_on="relabelled")
            self.assertEqual(row["correct"], (predicted == next_class).sum())

    def test_robustified_test_set_is_of_the_test_images(self):
        made = self.loaded.set("D_R_test")
        np.testing.assert_array_equal(made.labels, self.test_set.labels)
        self.assertLen(made.labels, 40)
        (row,) = self.rows(network="on_D_R", tested_on="D_R_test", epsilon=0.0)
        right = self.predicted("on_D_R", made.images) == made.labels
        self.assertEqual(row["correct"], right.sum())

    def test_on_d_r_itself_as_many_images_as_there_are_test_images(self):
        (row,) = self.rows(network="on_D_R", tested_on="D_R", epsilon=0.0)
        made = self.loaded.set("D_R")
        right = self.predicted("on_D_R", made.images[:40]) == made.labels[:40]
        self.assertEqual((row["correct"], row["total"]), (right.sum(), 40))
        # The attacked ones are the first too.
        (row,) = self.rows(network="on_D_R", tested_on="D_R", epsilon=0.5)
        self.assertEqual(row["evidence"]["correct"], right.sum())

    def test_twice_the_steps_are_twice_the_steps(self):
        evaluation = replace(self.config.evaluation, steps=1)
        network = self.loaded.network("standard")
        checks = climbs.checks(network.model, evaluation)
        x = jnp.asarray(self.test_set.images[:20])
        y = jnp.asarray(self.test_set.labels[:20])
        key, places = jax.random.key(0), np.arange(20)
        once, twice = (
            np.asarray(
                attack(
                    jax.random.clone(key), network.params, np.float32(0.5), places, x, y
                )
            )
            for attack in (checks.attack, checks.more_steps)
        )
        loss = losses.cross_entropy(network.model.apply)
        for images, steps, step_size in ((once, 1, 1.25), (twice, 2, 0.625)):
            expected = attacks.pgd(
                loss, attacks.l2(0.5), steps=steps, step_size=step_size
            )(jax.random.split(jax.random.clone(key), 20), network.params, x, y)
            np.testing.assert_allclose(images, expected, atol=1e-5)
        self.assertGreater(np.abs(once - twice).max(), 1e-3)

    def test_strength_is_measured_for_both_losses_at_the_reported_radius(self):
        # Radii tested: 0.5; half of the radius of training: 0.25.
        self.assertEqual(self.results["reported_epsilon"], 0.5)
        rows = [
            row
            for row in self.rows(network="on_D_R", tested_on="test")
            if row["attack"] != "none"
        ]
        measured = {(row["attack"], row["steps"], row["epsilon"]) for row in rows}
        both = ("pgd", "pgd margin")
        self.assertEqual(measured, {(name, n, 0.5) for name in both for n in (1, 3)})
        # Three steps of cross-entropy are the figure's attack.
        (same,) = (r for r in rows if (r["attack"], r["steps"]) == ("pgd", 3))
        (figure,) = (
            row
            for row in self.results["rows"]
            if row["network"] == "on_D_R" and row["epsilon"]
        )
        self.assertEqual(same["correct"], figure["correct"])

    def test_sets_from_noise_have_their_own_matching(self):
        made = self.loaded.set("D_NR_noise").provenance
        self.assertEqual(made["settings"]["start"], "noise")
        self.assertEqual(made["settings"]["steps"], 2)
        before = self.loaded.set("D_NR").provenance
        self.assertEqual(before["settings"]["start"], "image")
        self.assertLen(self.rows(network="on_D_NR_noise"), 2)

    def test_it_was_planned_so(self):
        helpers.check_planned(self, self.planned, self.heard)

    def test_a_second_run_makes_nothing_again(self):
        helpers.check_again(self, ("rows", "tables"))


class SecondTestSetTest(parameterized.TestCase):
    def test_networks_are_tested_on_it(self):
        with tempfile.TemporaryDirectory() as out:
            config = tiny(sets=(), tables=Tables(second_test="digits"))
            results = main.run(config, out)
            run, (_, second) = runs.load(out), data.load("digits")
            self.assertLen(results["tables"], 2 * 2)
            for row in results["tables"]:
                self.assertEqual(row["tested_on"], "second_test")
                self.assertEqual(row["total"], len(second.labels))  # Not the first 40.
                if row["attack"] == "none":
                    logits = run.network(row["network"])(second.images)
                    right = np.asarray(logits.argmax(-1)) == second.labels
                    self.assertEqual(row["correct"], right.sum())

    def test_another_kind_of_images_is_refused_before_any_work(self):
        with tempfile.TemporaryDirectory() as out:
            config = tiny(tables=Tables(second_test="planted"))
            with self.assertRaisesRegex(
                ValueError, "planted has .* the first test set 10"
            ):
                main.run(config, out)
            self.assertEmpty(list(Path(out).rglob("*")))


class RefusalsTest(parameterized.TestCase):
    @parameterized.parameters((0,), (1, 1))
    def test_strength_is_of_different_steps(self, *strength):
        with self.assertRaisesRegex(ValueError, "different numbers of steps, got"):
            Tables(strength=strength)

    @parameterized.named_parameters(
        ("relabelled", dict(relabelled=("on_D_de",)), "on_D_de"),
        ("network", dict(elsewhere=(("on_X", "D_R"),)), "on_X"),
        ("set", dict(elsewhere=(("on_D_R", "D_X"),)), "D_X"),
        ("strength", dict(strength=(1,), strength_of="on_Y"), "on_Y"),
    )
    def test_names_that_are_not_there_are_refused_by_the_config(self, changes, name):
        with self.assertRaisesRegex(ValueError, name):
            tiny(tables=Tables(**changes))
