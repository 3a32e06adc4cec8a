"""The study of transferability: what is counted, split, made once and refused."""

import dataclasses
import json
import tempfile
from pathlib import Path

import jax
import numpy as np
from absl.testing import parameterized

from nrf import data
from nrf.config import PGD, Learner, Mislabelling, Network, Training, Transfer
from nrf.experiments import build, transfer
from nrf.runs import formats

TRAINING = Training(epochs=2, batch_size=20, learning_rate=0.05)
ATTACK = PGD("l2", 1.0, steps=3, step_size=0.5)


def network(name):
    return Network(name, (0.3,), (0.38,), widths=(4, 5), width=2)


def learner(name):
    return Learner(network(name), TRAINING, TRAINING)


def tiny(**changes):
    """Two epochs of everything on 120 digits."""
    settings = dict(
        name="tiny",
        data="digits",
        source=network("small"),
        source_training=TRAINING,
        learners=(learner("mlp"), learner("small"), learner("resnet18")),
        attack=ATTACK,
        mislabelling=Mislabelling(ATTACK),
        seeds=(0,),
        train_examples=120,
        test_examples=60,
        evaluation_batch=20,
        synthesis_batch=20,
    )
    return Transfer(**{**settings, **changes})


class CountsTest(parameterized.TestCase):
    def test_counts_of_predictions_made_by_hand(self):
        labels = np.array([0, 1, 2, 0, 1, 2])
        targets = (labels + 1) % 3
        clean = np.array([0, 1, 2, 0, 2, 0])  # Four right; the others say the target.
        untargeted = np.array([1, 1, 0, 0, 1, 0])
        targeted = np.array([1, 1, 1, 1, 2, 2])
        found = transfer.counts(
            clean == labels,
            untargeted == labels,
            targeted == targets,
            clean == targets,
        )
        self.assertEqual(
            found,
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
        # For results.json.
        json.dumps(found)


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
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.out = Path(folder.name) / "run"
        cls.results = transfer.run(tiny(), cls.out, command="a command")
        cls.train_set, cls.test_set = data.load(
            "digits", train_examples=120, test_examples=60
        )
        cls.attacks = formats.ARRAYS.load(cls.out / "seed0" / "attacks")

    def test_a_row_for_every_network(self):
        names = [row["network"] for row in self.results["rows"]]
        self.assertEqual(names, ["source", "mlp", "small", "resnet18"])
        for row in self.results["rows"]:
            self.assertEqual(row["total"], 60)
            self.assertLessEqual(row["fooled"], row["right"])
            self.assertEqual("right_on_D_det" in row, row["network"] != "source")
        saved = json.loads((self.out / "transfer.json").read_text())
        self.assertEqual(saved["rows"], self.results["rows"])
        self.assertLen(saved["seconds"], 1 + 1 + 1 + 1 + 4 * 3)
        self.assertLen(saved["history"], 1 + 2 * 3)

    def test_d_det_is_of_the_half_of_the_source(self):
        made = formats.CONSTRUCTED.load(self.out / "seed0" / "D_det")
        first, second = transfer.halves(0, self.train_set)
        moved = np.linalg.norm((made.images - first.images).reshape(60, -1), axis=1)
        self.assertLessEqual(moved.max(), 1 + 1e-5)
        self.assertGreater(moved.min(), 0)
        np.testing.assert_array_equal(made.original_labels, first.labels)
        np.testing.assert_array_equal(made.labels, (first.labels + 1) % 10)
        about = {
            name: json.loads((self.out / "seed0" / name / "manifest.json").read_text())
            for name in ("source", "mlp", "mlp_on_D_det")
        }
        inputs = {name: set(of["about"]["inputs"]) for name, of in about.items()}
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
        params = formats.TRAINED.load(self.out / "seed0" / "source").params
        model = build.network(tiny().source, 10)

        def of(images, classes):
            logits = jax.nn.log_softmax(model.apply(params, images).logits)
            return np.asarray(logits)[np.arange(60), classes]

        for way, classes, sign in (
            ("untargeted", labels, -1),
            ("targeted", (labels + 1) % 10, 1),
        ):
            moved = of(self.attacks[way], classes) - of(self.test_set.images, classes)
            self.assertGreater((sign * moved).min(), 0, way)

    def test_rows_are_what_the_networks_say(self):
        labels = self.test_set.labels
        targets = (labels + 1) % 10
        for row in self.results["rows"][1:3]:
            model = build.network(network(row["network"]), 10)

            def says(stage, images, model=model):
                params = formats.TRAINED.load(self.out / "seed0" / stage).params
                return np.asarray(model.apply(params, images).logits.argmax(-1))

            name = row["network"]
            clean = says(name, self.test_set.images)
            away, toward = (
                says(name, self.attacks[way]) for way in ("untargeted", "targeted")
            )
            expected = {
                "right": clean == labels,
                "fooled": (clean == labels) & (away != labels),
                "reached": (clean == labels) & (toward == targets),
                "wrong": away != labels,
                "said": toward == targets,
                "said_before": clean == targets,
                "right_on_D_det": says(f"{name}_on_D_det", self.test_set.images)
                == labels,
            }
            found = {key: row[key] for key in expected}
            self.assertEqual(found, {key: of.sum() for key, of in expected.items()})

    def test_a_second_run_makes_nothing_again(self):
        def progress(stage, examples):
            self.fail(f"{stage} is made again")

        again = transfer.run(tiny(), self.out, progress=progress)
        self.assertEqual(again["rows"], self.results["rows"])
        self.assertEqual(again["seconds"], self.results["seconds"])

    @parameterized.named_parameters(
        ("attack", dict(attack=dataclasses.replace(ATTACK, steps=4)), "attacks was "),
        ("halves", dict(halves=False), "source was made from another D of the source"),
    )
    def test_other_settings_are_refused_by_name(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            transfer.run(tiny(**changes), self.out)


class RefusalsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("two", dict(learners=(learner("mlp"), learner("small"))), "three or more"),
        ("twice", dict(learners=(learner("mlp"),) * 3), "different architectures"),
        ("seeds", dict(seeds=(1, 1)), "seeds must be"),
        ("storage", dict(storage="uint8"), "8 bits would lose"),
        ("batch", dict(synthesis_batch=0), "at least 1"),
    )
    def test_of_the_config(self, changes, message):
        with self.assertRaisesRegex(ValueError, message):
            tiny(**changes)

    @parameterized.named_parameters(
        (
            "images",
            dict(learners=(learner("mlp"), learner("vgg16"), learner("small"))),
            "VGG .*8 x 8; the smallest side is 32",
        ),
        (
            "training",
            dict(source_training=dataclasses.replace(TRAINING, batch_size=61)),
            "must be in 1 .. 60.* got 61",
        ),
        ("score", dict(evaluation_batch=21, devices=4), "divided over 4 devices"),
        ("data", dict(train_examples=5000), "5000"),
    )
    def test_before_any_work(self, changes, message):
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, message):
                transfer.run(tiny(**changes), Path(out))
            self.assertEmpty(list(Path(out).rglob("*")))
