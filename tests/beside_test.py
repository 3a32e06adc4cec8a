"""What stands beside the main experiment: other tables' rows, and controls."""

import dataclasses
import tempfile
from pathlib import Path

import jax
import numpy as np
from absl.testing import parameterized
from main_test import tiny
from tfds_test import COLOURS, compressed, png, write

from nrf import attacks, data, losses
from nrf.config import (
    PGD,
    Appendix,
    Bugs,
    Controls,
    Errors,
    Leakage,
    Matching,
    Plane,
    Training,
)
from nrf.experiments import build, main
from nrf.report import controls as report_controls
from nrf.runs import formats

SHORT = Training(epochs=1, batch_size=4, learning_rate=1e-4)
APPENDIX = Appendix(strength=(1, 3), noise_start=Matching(2, 0.1, start="noise"))
CONTROLS = Controls(
    errors=Errors(SHORT, SHORT),
    bugs=Bugs(PGD("l2", 1.0, steps=4, step_size=0.5), others=2, student=SHORT),
    leakage=Leakage(
        dataclasses.replace(SHORT, attack=PGD("l2", 0.1, 2, 0.05)), epsilon=0.1
    ),
    plane=Plane(classes=(3, 1), epsilon=0.5),
)


class BesideTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.out = Path(folder.name) / "run"
        cls.config = tiny(appendix=APPENDIX, controls=CONTROLS)
        cls.results = main.run(cls.config, cls.out)
        cls.train_set, cls.test_set = data.load(
            "digits", train_examples=60, test_examples=40
        )
        cls.model = build.network(cls.config.network, 10)

    def made(self, name):
        return formats.CONSTRUCTED.load(self.out / "seed0" / name)

    def params(self, name):
        return formats.TRAINED.load(self.out / "seed0" / name).params

    def says(self, name, images):
        return np.asarray(self.model.apply(self.params(name), images).logits.argmax(-1))

    def rows(self, part, **fields):
        return [
            row
            for row in self.results[part]
            if all(row[name] == value for name, value in fields.items())
        ]

    def test_rows_of_the_main_experiment_stay_the_six_networks(self):
        self.assertLen(self.results["rows"], 6 * 2)
        self.assertEqual({row["tested_on"] for row in self.results["rows"]}, {"test"})

    def test_every_row_is_said_once(self):
        for part in ("appendix", "controls"):
            rows = self.results[part]
            names = {
                tuple(
                    value
                    for key, value in row.items()
                    if key not in ("correct", "evidence")
                )
                for row in rows
                if row["attack"] != "none"
            }
            self.assertLen(names, sum(row["attack"] != "none" for row in rows))

    def test_robust_sources_are_attacked_themselves(self):
        for name in ("D_rand_robust", "D_det_robust"):
            made = self.made(name)
            moved = (made.images - self.train_set.images).reshape(60, -1)
            self.assertLessEqual(np.linalg.norm(moved, axis=1).max(), 1 + 1e-5)
            self.assertEqual(made.provenance["source"], "robust")

            def towards(images, name="robust", made=made):
                logits = self.model.apply(self.params(name), images).logits
                logits = np.asarray(jax.nn.log_softmax(logits))
                return logits[np.arange(60), made.labels].mean()

            self.assertGreater(towards(made.images), towards(self.train_set.images))
        expected = (self.train_set.labels + 1) % 10
        np.testing.assert_array_equal(self.made("D_det_robust").labels, expected)

    def test_relabelled_rows_count_the_class_after_the_true_one(self):
        for name in ("D_det", "D_det_robust"):
            said = self.says(f"on_{name}", self.test_set.images)
            next_class = (self.test_set.labels + 1) % 10
            (row,) = self.rows(
                "appendix", trained_on=name, tested_on="relabelled", seed=0
            )
            self.assertEqual(row["correct"], (said == next_class).sum())

    def test_robustified_test_set_is_of_the_test_images(self):
        made = self.made("D_R_test")
        np.testing.assert_array_equal(made.labels, self.test_set.labels)
        self.assertLen(made.labels, 40)
        (row,) = self.rows(
            "appendix", trained_on="D_R", tested_on="D_R_test", epsilon=0.0, seed=0
        )
        right = self.says("on_D_R", made.images) == made.labels
        self.assertEqual(row["correct"], right.sum())

    def test_on_d_r_itself_as_many_images_as_there_are_test_images(self):
        (row,) = self.rows(
            "appendix", trained_on="D_R", tested_on="D_R", epsilon=0.0, seed=0
        )
        made = self.made("D_R")
        right = self.says("on_D_R", made.images[:40]) == made.labels[:40]
        self.assertEqual((row["correct"], row["total"]), (right.sum(), 40))
        # These are the first.
        (row,) = self.rows(
            "appendix", trained_on="D_R", tested_on="D_R", epsilon=0.5, seed=0
        )
        first, last = made.labels[:40], made.labels[-40:]
        self.assertNotEqual(np.bincount(first).max(), np.bincount(last).max())
        commonest = row["evidence"]["commonest"]
        self.assertEqual(commonest, np.bincount(first).max() / 40)

    def test_twice_the_steps_are_twice_the_steps(self):
        evaluation = dataclasses.replace(self.config.evaluation, steps=1)
        built = build.Programs(self.config, 10)
        checks = built.checks(evaluation)
        params = self.params("standard")
        x, y = self.test_set.images[:20], self.test_set.labels[:20]
        key, places = jax.random.key(0), np.arange(20)
        once, twice = (
            np.asarray(
                attack(jax.random.clone(key), params, np.float32(0.5), places, x, y)
            )
            for attack in (checks.attack, checks.more_steps)
        )
        loss = losses.cross_entropy(built.model.apply)
        for found, steps, step_size in ((once, 1, 1.25), (twice, 2, 0.625)):
            expected = attacks.pgd(
                loss, attacks.l2(0.5), steps=steps, step_size=step_size
            )(jax.random.split(jax.random.clone(key), 20), params, x, y)
            np.testing.assert_allclose(found, expected, atol=1e-5)
        self.assertGreater(np.abs(once - twice).max(), 1e-3)

    def test_strength_is_measured_for_both_losses_at_the_headline_radius(self):
        rows = [
            row
            for row in self.rows("appendix", trained_on="D_R", tested_on="test", seed=0)
            if row["attack"] != "none"
        ]
        found = {(row["attack"], row["steps"], row["epsilon"]) for row in rows}
        # Radii tested: 0.5; half of the radius of training: 0.25.
        both = ("pgd", "pgd margin")
        self.assertEqual(found, {(name, n, 0.5) for name in both for n in (1, 3)})

    def test_sets_from_noise_have_their_own_matching(self):
        made = self.made("D_NR_noise")
        self.assertEqual(made.provenance["settings"]["start"], "noise")
        self.assertEqual(self.made("D_NR").provenance["settings"]["start"], "image")
        self.assertLen(self.rows("appendix", trained_on="D_NR_noise"), 2)

    def test_shaken_images_move_as_far_and_elsewhere(self):
        for name in ("D_rand", "D_det"):
            pushed, shaken = self.made(name), self.made(f"{name}_shaken")
            np.testing.assert_array_equal(pushed.labels, shaken.labels)
            away = [
                (made.images - self.train_set.images).reshape(60, -1)
                for made in (pushed, shaken)
            ]
            norms = [np.linalg.norm(a, axis=1) for a in away]
            # All the same: their differences would tell labels.
            np.testing.assert_allclose(norms[1], norms[0].mean(), rtol=1e-4)
            cosine = np.sum(away[0] * away[1], 1) / (norms[0] * norms[1])
            self.assertLess(np.abs(cosine).max(), 0.8)
            # Not 0: black pixels can only become brighter.
            self.assertLess(np.abs(cosine.mean()), 0.3)

    def test_errors_are_what_the_labeller_gets_wrong(self):
        made = self.made("D_errors")
        said = self.says("labeller", self.train_set.images)
        wrong = np.flatnonzero(said != self.train_set.labels)
        np.testing.assert_array_equal(made.indices, wrong)
        np.testing.assert_array_equal(made.labels, said[wrong])
        np.testing.assert_array_equal(made.images, self.train_set.images[wrong])

    def test_bugs_keep_the_label_on_others(self):
        bugs, det = self.made("D_bugs"), self.made("D_det")
        np.testing.assert_array_equal(bugs.labels, det.labels)
        labels = self.train_set.labels

        def loss(network, images, classes):
            logits = self.model.apply(self.params(network), images).logits
            chosen = np.asarray(jax.nn.log_softmax(logits))[np.arange(60), classes]
            return -chosen.mean()

        others = [
            sum(loss(name, images, labels) for name in ("other0", "other1"))
            for images in (bugs.images, det.images)
        ]
        self.assertLess(others[0], others[1])
        (entry,) = self.results["bugs"]
        self.assertEqual((entry["seed"], entry["total"]), (0, 60))
        for name, made in (("D_bugs", bugs), ("D_det", det)):
            said = self.says("fresh", made.images) == made.labels
            self.assertEqual(entry[name]["fresh"], said.sum())

    def test_leakage_and_plane_are_of_the_data(self):
        (entry,) = self.results["leakage"]
        self.assertEqual((entry["features"], entry["seed"]), (10, 0))
        (plane,) = self.results["plane"]
        self.assertEqual(plane["epsilon"], 0.5)

    def test_a_second_run_makes_nothing_again(self):
        def progress(stage, examples):
            self.fail(f"{stage} is made again")

        again = main.run(self.config, self.out, progress=progress)
        for part in ("rows", "appendix", "controls", "bugs", "leakage", "plane"):
            self.assertEqual(again[part], self.results[part])


class SecondTestSetTest(parameterized.TestCase):
    def test_networks_are_tested_on_it(self):
        with tempfile.TemporaryDirectory() as folder:
            colours = [png(image) for image in COLOURS]
            write(folder, compressed(), colours)
            config = tiny(
                data="things",
                data_dir=folder,
                train_examples=30,
                test_examples=10,
                appendix=Appendix(False, False, (), second_test="things"),
            )
            results = main.run(config, Path(folder) / "run")
            self.assertLen(results["appendix"], 6 * 2)
            for mine, other in zip(results["appendix"], results["rows"], strict=True):
                self.assertEqual(mine["tested_on"], "second_test")
                self.assertEqual(mine["correct"], other["correct"])

    def test_another_kind_of_images_is_refused_before_any_work(self):
        with tempfile.TemporaryDirectory() as folder:
            write(folder, compressed(), [png(image) for image in COLOURS])
            config = tiny(data_dir=folder, appendix=Appendix(second_test="things"))
            with self.assertRaisesRegex(ValueError, "has to be like the first"):
                main.run(config, Path(folder) / "run")


class RefusalsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("strength", lambda: Appendix(strength=(0,)), "numbers of steps, got"),
        ("start", lambda: Appendix(noise_start=Matching(1, 0.1)), "'noise', got"),
        ("others", lambda: Bugs(PGD("l2", 1, 1, 1), 0, SHORT), "at least 1, got 0"),
        ("leakage", lambda: Leakage(SHORT, 0.5), "trained with an attack"),
        ("classes", lambda: Plane((1, 1), 0.5), "two different ones"),
        ("epsilon", lambda: Plane((1, 2), -0.5), "positive and finite"),
    )
    def test_of_the_config(self, make, message):
        with self.assertRaisesRegex(ValueError, message):
            make()

    @parameterized.named_parameters(
        (
            "training",
            Controls(bugs=Bugs(PGD("l2", 1, 1, 1), 1, Training(1, 61, 0.1))),
            "must be in 1 .. 60.* got 61",
        ),
        ("classes", Controls(plane=Plane((3, 10), 0.5)), "there are 0 .. 9"),
    )
    def test_before_any_work(self, controls, message):
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, message):
                main.run(tiny(controls=controls), Path(out))
            self.assertEmpty(list(Path(out).rglob("*")))

    def test_a_labeller_that_errs_too_little(self):
        controls = Controls(
            noise=False,
            errors=Errors(SHORT, Training(epochs=1, batch_size=60, learning_rate=0.1)),
        )
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, "fewer than a batch of 60"):
                main.run(tiny(controls=controls), Path(out))


class ChanceTest(parameterized.TestCase):
    def test_only_the_attack_teaches_not_perturbations_of_its_length(self):
        standard = Training(epochs=15, batch_size=50, learning_rate=0.1)
        config = tiny(
            network=dataclasses.replace(tiny().network, widths=(16, 10)),
            standard=standard,
            mislabelling=dataclasses.replace(
                tiny().mislabelling, attack=PGD("l2", 1.5, steps=15, step_size=0.2)
            ),
            on=dataclasses.replace(tiny().on, D_rand=standard, D_det=standard),
            controls=Controls(),
            devices=1,
            train_examples=600,
            test_examples=500,
            synthesis_batch=300,
        )
        with tempfile.TemporaryDirectory() as out:
            results = main.run(config, Path(out))
        for name in ("D_rand", "D_det"):
            (plain,) = (
                row["correct"] / row["total"]
                for row in results["rows"]
                if row["trained_on"] == name and row["attack"] == "none"
            )
            (row,) = (
                row
                for row in results["controls"]
                if row["trained_on"] == f"{name}_shaken"
            )
            self.assertEqual(np.sum(row["confusion"]), 500)
            self.assertEqual(np.trace(row["confusion"]), row["correct"])
            shaken = row["correct"] / row["total"]
            _, chance = report_controls.by_chance(results, f"{name}_shaken")
            self.assertLessEqual(shaken, chance, name)
            self.assertGreater(plain, chance, name)
