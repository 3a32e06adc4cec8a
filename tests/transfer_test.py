"""The study of transferability: what is counted, split, made once and refused."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import helpers
import jax
import numpy as np
from absl.testing import parameterized
from helpers import TRAINING, learner, tiny_transfer

from nrf import data, runs
from nrf.experiments import plan, transfer
from nrf.models import MLP, VGG16, Small
from nrf.runs import store

PIXELS = (0.3,), (0.38,)
SMALL = learner("small", Small(*PIXELS, widths=(4, 5)))
LINEAR = learner("linear", MLP(*PIXELS, widths=()))


class CountsTest(parameterized.TestCase):
    def test_counts_of_predictions_made_by_hand(self):
        labels = np.array([0, 1, 2, 0, 1, 2])
        targets = (labels + 1) % 3
        clean = np.array([0, 1, 2, 0, 2, 0])  # Four right; the others say the target.
        untargeted = np.array([1, 1, 0, 0, 1, 0])
        targeted = np.array([1, 1, 1, 1, 2, 2])
        counted = transfer.counts(
            clean == labels,
            untargeted == labels,
            targeted == targets,
            clean == targets,
        )
        self.assertEqual(
            counted,
            {
                "total": 6,
                "right": 4,
                "fooled": 2,  # Images 0 and 2.
                "reached": 2,  # Images 0 and 3; image 4 was not right.
                "wrong": 3,  # Image 5 too, which was wrong already.
                "said": 3,
                "said_before": 2,
            },
        )
        # For transfer.json.
        json.dumps(counted)


class HalvesTest(parameterized.TestCase):
    @parameterized.parameters(60, 61)
    def test_are_disjoint_and_cover(self, count):
        numbers = np.arange(count, dtype=np.float32)
        images = np.tile(numbers[:, None, None, None] / count, (1, 2, 2, 1))
        dataset = data.Dataset(
            images, numbers.astype(np.int32) % 10, tuple("0123456789")
        )
        first, second = transfer.halves(0, dataset)
        self.assertLessEqual(abs(len(first.labels) - len(second.labels)), 1)
        for half in (first, second):
            rows = np.round(half.images[:, 0, 0, 0] * count).astype(int)
            np.testing.assert_array_equal(half.labels, rows % 10)
        both = np.concatenate([first.images, second.images])[:, 0, 0, 0]
        np.testing.assert_array_equal(np.sort(both), images[:, 0, 0, 0])
        other, _ = transfer.halves(1, dataset)
        self.assertTrue((other.images != first.images).any())


class StudyTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = helpers.folder_of(cls) / "run"
        cls.planned = plan(tiny_transfer(), cls.out)
        cls.heard = helpers.Recorder()
        cls.results = transfer.run(
            tiny_transfer(), cls.out, progress=cls.heard, command="a command"
        )
        cls.saved = json.loads((cls.out / "transfer.json").read_text())
        cls.loaded = runs.load(cls.out)
        cls.train_set, cls.test_set = data.load(
            "digits", train_examples=120, test_examples=60
        )
        cls.attacks = store.load(cls.out / "seed0" / "attacks")

    def test_a_row_for_every_network(self):
        names = [row["network"] for row in self.results["rows"]]
        self.assertEqual(names, ["source", "mlp", "small", "resnet18"])
        for row in self.results["rows"]:
            self.assertEqual((row["total"], row["seed"]), (60, 0))
            self.assertLessEqual(row["fooled"], row["right"])
            for name in ("right_on_D_det", "confusion_on_D_det"):
                self.assertEqual(name in row, row["network"] != "source")
        saved = self.saved
        self.assertEqual(saved["rows"], self.results["rows"])
        self.assertEqual((saved["command"], saved["data"]), ("a command", "digits"))
        # Source, attacks, D_det and the source's score; four steps for each learner.
        self.assertLen(saved["seconds"], 1 + 1 + 1 + 1 + 4 * 3)
        self.assertLen(saved["history"], 1 + 2 * 3)
        learners = [entry["name"] for entry in saved["learners"]]
        self.assertEqual(learners, ["mlp", "small", "resnet18"])
        self.assertEqual(saved["learners"][2]["title"], "ResNet-18")

    def test_every_step_is_heard_to_its_end(self):
        self.assertLen(self.heard.begun, 1 + 1 + 1 + 1 + 4 * 3)
        self.assertEqual(list(self.heard.ended), list(self.heard.begun))
        helpers.check_planned(self, self.planned, self.heard)

    def test_d_det_is_of_the_half_of_the_source(self):
        made = self.loaded.set("D_det")
        first, _ = transfer.halves(0, self.train_set)
        moved = np.linalg.norm((made.images - first.images).reshape(60, -1), axis=1)
        self.assertLessEqual(moved.max(), 1 + 1e-5)
        self.assertGreater(moved.min(), 0)
        np.testing.assert_array_equal(made.original_labels, first.labels)
        np.testing.assert_array_equal(made.labels, (first.labels + 1) % 10)
        inputs = {
            name: set(
                json.loads((self.out / "seed0" / name / "manifest.json").read_text())[
                    "about"
                ]["inputs"]
            )
            for name in ("source", "mlp", "mlp_on_D_det")
        }
        self.assertEqual(inputs["source"], {"D of the source", "test"})
        self.assertEqual(inputs["mlp"], {"D", "test"})
        self.assertEqual(inputs["mlp_on_D_det"], {"D_det", "test"})

    def test_both_attacks_stay_in_the_ball(self):
        for name in ("untargeted", "targeted"):
            moved = (self.attacks[name] - self.test_set.images).reshape(60, -1)
            norms = np.linalg.norm(moved, axis=1)
            self.assertLessEqual(norms.max(), 1 + 1e-5)
            self.assertGreater(norms.min(), 0)

    def test_attacks_climb_away_from_the_label_and_towards_the_next_class(self):
        labels = self.test_set.labels
        source = self.loaded.network("source")

        def of(images, classes):
            return np.asarray(jax.nn.log_softmax(source(images)))[
                np.arange(60), classes
            ]

        for way, classes, sign in (
            ("untargeted", labels, -1),
            ("targeted", (labels + 1) % 10, 1),
        ):
            moved = of(self.attacks[way], classes) - of(self.test_set.images, classes)
            self.assertGreater((sign * moved).min(), 0, way)

    def test_rows_are_what_the_networks_predict(self):
        labels = self.test_set.labels
        targets = (labels + 1) % 10
        for row in self.results["rows"][1:3]:

            def predicted(step, images):
                return np.asarray(self.loaded.network(step)(images).argmax(-1))

            name = row["network"]
            clean = predicted(name, self.test_set.images)
            away, toward = (
                predicted(name, self.attacks[way]) for way in ("untargeted", "targeted")
            )
            taught = predicted(f"{name}_on_D_det", self.test_set.images)
            expected = {
                "right": clean == labels,
                "fooled": (clean == labels) & (away != labels),
                "reached": (clean == labels) & (toward == targets),
                "wrong": away != labels,
                "said": toward == targets,
                "said_before": clean == targets,
                "right_on_D_det": taught == labels,
            }
            self.assertEqual(
                {key: row[key] for key in expected},
                {key: of.sum() for key, of in expected.items()},
            )
            counts = np.zeros((10, 10), int)
            np.add.at(counts, (labels, taught), 1)
            np.testing.assert_array_equal(row["confusion_on_D_det"], counts)

    def test_a_second_run_makes_nothing_again(self):
        heard = helpers.Recorder()
        again = transfer.run(tiny_transfer(), self.out, progress=heard)
        self.assertEmpty(heard.begun)
        self.assertEqual(heard.skipped, list(self.heard.begun))
        for part in ("rows", "seconds", "attacks", "history"):
            self.assertEqual(again[part], self.results[part])

    def test_a_learner_more_makes_only_its_own_steps(self):
        heard = helpers.Recorder()
        learners = (LINEAR, *tiny_transfer().learners)
        with tempfile.TemporaryDirectory() as out:
            more = tiny_transfer(learners=learners)
            results = transfer.run(more, out, progress=heard, reuse=[self.out])
        names = "linear linear_on_D_det confusion_linear_on_D_det score_linear".split()
        self.assertCountEqual(heard.begun, [f"seed0/{name}" for name in names])
        self.assertEqual(results["learners"][0], {"name": "linear", "title": "linear"})
        self.assertEqual(results["rows"][2:], self.results["rows"][1:])

    @parameterized.named_parameters(
        ("attack", dict(attack=replace(helpers.PUSH, steps=4)), "attacks was "),
        ("halves", dict(halves=False), "source was made from another D of the source"),
    )
    def test_other_settings_are_refused_by_name(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            transfer.run(tiny_transfer(**changes), self.out)


class RefusalsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("two", dict(learners=(SMALL, LINEAR)), "three or more"),
        ("twice", dict(learners=(SMALL,) * 3), "different names"),
        ("seeds", dict(seeds=(1, 1)), "seeds must be"),
        ("storage", dict(storage="uint8"), "8 bits would lose"),
        ("precision", dict(precision="high"), "must be 'float32', .* got 'high'"),
        (
            "source",
            dict(learners=(SMALL, LINEAR, replace(SMALL, name="source"))),
            "'source' is the name of another",
        ),
        (
            "folder",
            dict(learners=(SMALL, LINEAR, replace(SMALL, name="a/b"))),
            "'a/b' is no name for a folder",
        ),
    )
    def test_of_the_config(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            tiny_transfer(**changes)

    @parameterized.named_parameters(
        (
            "images",
            dict(learners=(SMALL, LINEAR, learner("vgg16", VGG16(*PIXELS, width=2)))),
            "VGG .*8 x 8; the smallest side is 32",
        ),
        (
            "training",
            dict(source_training=replace(TRAINING, batch_size=61)),
            "must be in 1 .. 60.* got 61",
        ),
        ("data", dict(train_examples=5000), "5000"),
    )
    def test_before_any_work(self, changes, message):
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, message):
                transfer.run(tiny_transfer(**changes), out)
            self.assertEmpty(list(Path(out).rglob("*")))
