"""Controls of D_rand and D_det: that they are what they claim, and what they show."""

import tempfile
from dataclasses import replace
from pathlib import Path

import helpers
import jax
import numpy as np
from absl.testing import parameterized
from helpers import SHORT, tiny

from nrf import data, runs
from nrf.config import PGD, Controls, Evaluation, Leakage, Plane, Set, Training, Work
from nrf.evaluate.statistics import unpack
from nrf.experiments import main, plan
from nrf.experiments.controls import Isolate, Mistakes, RandomPush


class ControlsTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = helpers.folder_of(cls) / "run"
        cls.config = tiny(controls=helpers.controls())
        cls.planned, cls.heard = plan(cls.config, cls.out), helpers.Recorder()
        cls.results = main.run(cls.config, cls.out, progress=cls.heard)
        cls.loaded = runs.load(cls.out)
        cls.train_set, cls.test_set = data.load(
            "digits", train_examples=60, test_examples=40
        )

    def predicted(self, name, images):
        return np.asarray(self.loaded.network(name)(images).argmax(-1))

    def test_rows_are_the_counts_of_every_network_on_the_controls(self):
        self.assertLen(self.results["rows"], 6 * 2)
        rows = self.results["controls"]
        names = "D_rand_random D_det_random D_errors D_bugs".split()
        self.assertEqual([row["network"] for row in rows], [f"on_{n}" for n in names])
        for row, name in zip(rows, names, strict=True):
            self.assertEqual((row["trained_on"], row["attack"]), (name, "none"))
            expected = np.zeros((10, 10), int)
            predicted = self.predicted(row["network"], self.test_set.images)
            np.add.at(expected, (self.test_set.labels, predicted), 1)
            np.testing.assert_array_equal(row["confusion"], expected)
            self.assertEqual(row["correct"], np.trace(expected))
            right = predicted == self.test_set.labels
            np.testing.assert_array_equal(unpack(row["right"], 40), right)
            self.assertEqual(row["total"], 40)

    def test_their_networks_and_sets_are_told_as_a_group(self):
        networks = [e for e in self.results["networks"] if e["group"] == "controls"]
        self.assertLen(networks, 4 + 4)
        self.assertEqual(networks[0]["title"], "D, labeller")
        sets = [e for e in self.results["sets"] if e["group"] == "controls"]
        self.assertEqual(sets[-1]["source"], ["standard", "other0", "other1"])
        bugs = self.loaded.set("D_bugs").provenance
        self.assertEqual(bugs["source"], ["standard", "other0", "other1"])

    def test_random_pushes_move_as_far_and_elsewhere(self):
        for name in ("D_rand", "D_det"):
            pushed, random = self.loaded.set(name), self.loaded.set(f"{name}_random")
            np.testing.assert_array_equal(pushed.labels, random.labels)
            away = [
                (made.images - self.train_set.images).reshape(60, -1)
                for made in (pushed, random)
            ]
            norms = [np.linalg.norm(a, axis=1) for a in away]
            # All the same: their differences would tell labels.
            np.testing.assert_allclose(norms[1], norms[0].mean(), rtol=1e-4)
            cosine = np.sum(away[0] * away[1], 1) / (norms[0] * norms[1])
            self.assertLess(np.abs(cosine).max(), 0.8)
            # Not 0: black pixels can only become brighter.
            self.assertLess(np.abs(cosine.mean()), 0.3)

    def test_errors_are_what_the_labeller_gets_wrong(self):
        made = self.loaded.set("D_errors")
        predicted = self.predicted("labeller", self.train_set.images)
        wrong = np.flatnonzero(predicted != self.train_set.labels)
        np.testing.assert_array_equal(made.indices, wrong)
        np.testing.assert_array_equal(made.labels, predicted[wrong])
        np.testing.assert_array_equal(
            made.original_labels, self.train_set.labels[wrong]
        )
        np.testing.assert_array_equal(made.images, self.train_set.images[wrong])
        self.assertAlmostEqual(made.provenance["wrong"], len(wrong) / 60)

    def test_bugs_keep_the_label_on_others(self):
        bugs, det = self.loaded.set("D_bugs"), self.loaded.set("D_det")
        np.testing.assert_array_equal(bugs.labels, det.labels)
        labels = self.train_set.labels

        def loss(network, images, classes):
            logits = self.loaded.network(network)(images)
            return -np.asarray(jax.nn.log_softmax(logits))[
                np.arange(60), classes
            ].mean()

        # The source goes towards the new label, the others stay with the old one.
        clean = loss("standard", self.train_set.images, bugs.labels)
        self.assertLess(loss("standard", bugs.images, bugs.labels), clean)
        others = [
            sum(loss(name, images, labels) for name in ("other0", "other1"))
            for images in (bugs.images, det.images)
        ]
        self.assertLess(others[0], others[1])
        # Nor do they only stay where they were: they are made surer.
        sure = self.train_set.images
        before = sum(loss(name, sure, labels) for name in ("other0", "other1"))
        self.assertLess(others[0], before)

    def test_networks_asked_for_the_new_labels(self):
        (entry,) = self.results["asked"]
        self.assertEqual((entry["seed"], entry["total"]), (0, 60))
        for name in ("D_bugs", "D_det"):
            made = self.loaded.set(name)
            for network in ("standard", "fresh"):
                right = self.predicted(network, made.images) == made.labels
                self.assertEqual(entry[name][network], right.sum())

    def test_leakage_and_plane_are_of_the_data(self):
        (entry,) = self.results["leakage"]
        self.assertEqual((entry["features"], entry["seed"]), (10, 0))
        (plane,) = self.results["plane"]
        self.assertEqual(plane["epsilon"], 0.5)

    def test_it_was_planned_so(self):
        helpers.check_planned(self, self.planned, self.heard)

    def test_a_second_run_makes_nothing_again(self):
        helpers.check_again(self, ("rows", "controls", "asked", "leakage", "plane"))


class RefusalsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("leakage", lambda: Leakage(SHORT, 0.5), "trained with an attack"),
        ("classes", lambda: Plane((1, 1), 0.5), "two different ones"),
        ("epsilon", lambda: Plane((1, 2), -0.5), "positive and finite"),
        (
            "alone",
            lambda: Set("D_x", Isolate(PGD("l2", 1, 1, 1)), "standard"),
            r"recipe\(key, D, standard, env=env\), and takes .*'other'",
        ),
    )
    def test_of_the_config(self, make, message):
        with self.assertRaisesRegex(ValueError, message):
            make()

    @parameterized.named_parameters(
        (
            "training",
            Controls(networks={"labeller": Training(1, 61, 0.1)}),
            "must be in 1 .. 60.* got 61",
        ),
        (
            "linear",
            Controls(
                leakage=Leakage(
                    replace(SHORT, batch_size=61, attack=PGD("l2", 0.1, 2, 0.05)), 0.1
                )
            ),
            "must be in 1 .. 60.* got 61",
        ),
        ("classes", Controls(plane=Plane((3, 10), 0.5)), "there are 0 .. 9"),
        (
            "fresh",
            Controls(sets=(Set("D_x", RandomPush(), "D_rand", Training(1, 61, 0.1)),)),
            "must be in 1 .. 60.* got 61",
        ),
    )
    def test_before_any_work(self, controls, message):
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, message):
                main.run(tiny(controls=controls), out)
            self.assertEmpty(list(Path(out).rglob("*")))

    @parameterized.named_parameters(
        ("asked", Controls(asked=(("nobody",), ("D_det",))), "nobody"),
        ("asked_of", Controls(asked=(("standard",), ("D_dot",))), "D_dot"),
        (
            "after",
            Controls(
                leakage=Leakage(
                    replace(SHORT, attack=PGD("l2", 0.1, 2, 0.05)), 0.1, ("D_x",)
                )
            ),
            "D_x",
        ),
    )
    def test_names_that_are_not_there_are_refused_by_the_config(self, controls, name):
        with self.assertRaisesRegex(ValueError, name):
            tiny(controls=controls)

    def test_a_labeller_that_errs_too_little(self):
        controls = Controls(
            networks={"labeller": helpers.TRAINING},
            sets=(Set("D_errors", Mistakes(least=60), "labeller", SHORT),),
        )
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, "images wrong, fewer than 60"):
                main.run(tiny(sets=(), controls=controls), out)


class ChanceTest(parameterized.TestCase):
    def test_only_the_attack_teaches_not_perturbations_of_its_length(self):
        standard = Training(epochs=15, batch_size=50, learning_rate=0.1)
        _, _, *sets = tiny().sets
        push = PGD("l2", 1.5, steps=15, step_size=0.2)
        D_rand, D_det = (
            replace(s, recipe=replace(s.recipe, attack=push), train=standard)
            for s in sets
        )
        random = [
            replace(s, name=f"{s.name}_random", recipe=RandomPush(), source=s.name)
            for s in (D_rand, D_det)
        ]
        config = tiny(
            network=replace(tiny().network, widths=(16, 10)),
            networks={"standard": standard},
            sets=(D_rand, D_det),
            controls=Controls(sets=tuple(random)),
            evaluation=Evaluation("l2", (), steps=1),
            train_examples=600,
            test_examples=500,
            work=Work(devices=1, synthesis_batch=300, evaluation_batch=100),
        )
        with tempfile.TemporaryDirectory() as out:
            results = main.run(config, out)
        for name in ("D_rand", "D_det"):
            (taught,) = (
                row["correct"]
                for row in results["rows"]
                if row["network"] == f"on_{name}"
            )
            (row,) = (
                row
                for row in results["controls"]
                if row["network"] == f"on_{name}_random"
            )
            counts = np.asarray(row["confusion"])
            self.assertEqual(counts.sum(), 500)
            # How often would predictions be right that know nothing of the labels?
            labels = np.repeat(np.arange(10), counts.sum(1))
            predicted = np.repeat(np.tile(np.arange(10), 10), counts.ravel())
            draw = np.random.default_rng(0)
            chance = [
                (draw.permutation(labels) == predicted).sum() for _ in range(1000)
            ]
            self.assertLessEqual(row["correct"], np.quantile(chance, 0.99), name)
            self.assertGreater(taught, 1.2 * max(chance), name)
