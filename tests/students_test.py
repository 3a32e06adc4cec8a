"""Learners of other kinds, and what is close: against slow references."""

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pages
from absl.testing import parameterized
from helpers import tiny

from nrf import attacks, losses, models, report, runs
from nrf.config import Closeness, Evaluation, Experiment, Set, Student, options
from nrf.data import load
from nrf.experiments import Match, Mislabel, autoattack, main, plan, prepare
from nrf.experiments.closeness import nearest
from nrf.experiments.students import distances
from nrf.experiments.tables import by_robust, other_sets
from nrf.types import Network

D_R, _, D_rand, D_det = tiny().sets
RADII = (0.02, 0.05, 0.5)


def config(**changes) -> Experiment:
    settings = {
        "sets": (D_R, D_rand, by_robust(D_rand)),
        "students": helpers.students(),
        "closeness": helpers.CLOSENESS,
        "evaluation": Evaluation("l2", RADII, steps=3, thorough=()),
    }
    return tiny(**{**settings, **changes})


class StudentsTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = helpers.folder_of(cls) / "run"
        cls.heard = helpers.Recorder()
        cls.config = config()
        cls.planned = plan(cls.config, cls.out)
        cls.results = main.run(cls.config, cls.out, progress=cls.heard)
        cls.run_ = runs.load(cls.out)
        cls.D, cls.test = load("digits", train_examples=60, test_examples=40)

    def test_a_row_for_every_student_set_and_radius(self):
        measured = {(r["network"], r["epsilon"]) for r in self.results["students"]}
        expected = {
            (f"{learner}_on_{on}", epsilon)
            for learner in ("mlp", "linear")
            for on in ("D", "D_R", "D_rand", "D_rand_robust")
            # D_rand by the robust network is tested without attack.
            for epsilon in (0.0, *(RADII if on != "D_rand_robust" else ()))
        }
        self.assertEqual(measured, expected)
        self.assertLen(self.results["students"], len(expected))
        for row in self.results["students"]:
            self.assertEqual(row["trained_on"], row["network"].partition("_on_")[2])
            self.assertEqual((row["training"], row["seed"]), ("standard", 0))

    def test_the_figures_own_network_of_that_set_is_not_attacked_either(self):
        radii = {r["epsilon"] for r in self.rows("rows", "on_D_rand_robust")}
        self.assertEqual(radii, {0.0})
        self.assertLen(self.rows("rows", "on_D_rand"), 1 + len(RADII))

    def rows(self, part, network):
        return [row for row in self.results[part] if row["network"] == network]

    def test_networks_are_told_as_learners(self):
        told = {
            one["name"]: one
            for one in self.results["networks"]
            if one["group"] == "students"
        }
        self.assertLen(told, 8)
        one = told["mlp_on_D_rand_robust"]
        self.assertEqual(one["title"], "D_rand, robust source, mlp")
        self.assertEqual((one["learner"], one["trained_on"]), ("mlp", "D_rand_robust"))
        self.assertEqual(told["linear_on_D"]["title"], "D, linear")
        self.assertEmpty(told["linear_on_D"]["text"])

    def test_networks_are_of_the_students_architecture(self):
        images = self.test.images
        for row in self.results["students"]:
            if row["attack"] == "none":
                network = self.run_.network(row["network"])
                right = np.asarray(network(images).argmax(-1)) == self.test.labels
                self.assertEqual(row["correct"], right.sum())
        shape = (
            self.run_.network("mlp_on_D").params["params"]["Dense_0"]["kernel"].shape
        )
        self.assertEqual(shape, (64, 6))
        kernels = self.run_.network("linear_on_D").params["params"]
        self.assertEqual(kernels["Dense_0"]["kernel"].shape, (64, 10))

    def test_the_worst_case_of_linear_students_is_exact(self):
        """By moving each image straight to every other class, in double precision."""
        checked = set()
        for row in self.results["students"]:
            self.assertEqual(
                "exact" in row, row["network"][:6] == "linear" and bool(row["epsilon"])
            )
            if "exact" not in row:
                continue
            dense = self.run_.network(row["network"]).params["params"]["Dense_0"]
            W = np.asarray(dense["kernel"], float).T / 0.38
            b = np.asarray(dense["bias"], float) - 0.3 * W.sum(1)
            right = 0
            for x, y in zip(self.test.images, self.test.labels, strict=True):
                x, fooled = np.asarray(x, float).ravel(), False
                for k in range(10):
                    d = W[k] - W[y]
                    z = W @ (x + row["epsilon"] * d / (np.linalg.norm(d) or 1)) + b
                    fooled |= z.argmax() != y
                right += not fooled
            self.assertEqual(row["exact"], right)
            self.assertLessEqual(row["exact"], row["correct"])
            checked.add(0 < right < row["correct"] or right)
        self.assertGreater(len(checked), 2)

    def test_they_are_attacked_by_autoattack_where_the_figures_are(self):
        asked = replace(self.config, autoattack=helpers.AUTOATTACK)
        with mock.patch.object(autoattack, "run", return_value=[]) as called:
            main.run(asked, self.out)
        self.assertEqual(
            called.call_args.args[3],
            ["standard", "robust", "on_D_R", "on_D_rand", "mlp_on_D", "mlp_on_D_R"]
            + ["mlp_on_D_rand", "linear_on_D", "linear_on_D_R", "linear_on_D_rand"],
        )

    def test_it_was_planned_so(self):
        helpers.check_planned(self, self.planned, self.heard)

    def test_a_second_run_makes_nothing_again(self):
        helpers.check_again(self, ("students", "closeness"))

    def test_its_page_has_them(self):
        page = report.write(self.out).read_text()
        pages.check_page(self, page)
        said = pages.words(page)
        for part in ("For whom it holds", "at least 0.0 %", "Are the pushes small"):
            self.assertIn(part, said)
        # Trainings of the figure's networks, two charts of bars, and curves.
        self.assertEqual(page.count("<svg"), 5 + 3)

    def test_pushes_beside_the_distance_of_classes(self):
        (entry,) = self.results["closeness"]
        self.assertEqual(
            [p["set"] for p in entry["pushed"]], ["D_rand", "D_rand_robust"]
        )
        x, y = self.D.images.reshape(60, -1).astype(float), self.D.labels
        chosen = range(0, 60, 2)
        to_others = [
            min(np.linalg.norm(x[i] - x[j]) for j in range(60) if y[j] != y[i])
            for i in chosen
        ]
        W = self.run_.network("linear_on_D")
        for push in entry["pushed"]:
            self.assertAlmostEqual(push["between_classes"], np.median(to_others), 5)
            self.assertAlmostEqual(push["share"], 1 / np.median(to_others), 5)
            made = self.run_.set(push["set"])
            counts = {"nearest": dict.fromkeys(("target", "true", "other"), 0)}
            counts["linear"] = dict(counts["nearest"])
            linear = np.asarray(W(made.images.astype(np.float32)).argmax(-1))
            moved = [i for i in chosen if made.labels[i] != y[i]]
            for i in moved:
                away = [
                    np.inf if i == j else np.linalg.norm(made.images[i].ravel() - x[j])
                    for j in range(60)
                ]
                for name, said in (
                    ("nearest", y[np.argmin(away)]),
                    ("linear", linear[i]),
                ):
                    which = {y[i]: "true", made.labels[i]: "target"}.get(said, "other")
                    counts[name][which] += 1
            self.assertEqual(push["total"], len(moved))
            self.assertEqual({k: push[k] for k in counts}, counts)

    def test_matching_beside_a_long_run(self):
        (entry,) = self.results["closeness"]
        (told,) = entry["matched"]
        network, made = self.run_.network("robust"), self.run_.set("D_R")
        places = [i * 60 // 8 for i in range(8)]
        starts = Match(3, 0.1).starts(runs.key_for(0, "D_R"), self.D)[places]
        apply = network.model.apply
        wanted = apply(network.params, self.D.images[places]).features

        def away(images):
            found = apply(network.params, jnp.asarray(images)).features
            return np.linalg.norm(np.asarray(found - wanted), axis=1)

        climb = attacks.pgd(
            losses.negate(losses.feature_distance(apply)),
            attacks.free(),
            steps=40,
            step_size=0.1,
            decay=True,
        )
        long = climb(jax.random.key(9), network.params, jnp.asarray(starts), wanted)
        for name, images in (
            ("start", starts), ("stored", made.images[places]), ("long", long),
        ):  # fmt: skip
            of = away(images)
            self.assertAlmostEqual(told[name]["mean"], of.mean(), 4)
            self.assertAlmostEqual(told[name]["median"], np.median(of), 4)
            self.assertAlmostEqual(told[name]["largest"], of.max(), 4)
        self.assertLess(told["long"]["mean"], told["stored"]["mean"])
        self.assertLess(told["stored"]["mean"], told["start"]["mean"])


class DistancesTest(parameterized.TestCase):
    W = np.array([[0.3, 0.4], [0.0, 0.0], [0.0, 0.0]])
    b = np.array([0.0, 0.1, 0.1])

    def of(self, x, y, norm):
        (found,) = distances(
            self.W, self.b, np.reshape(x, (1, 1, 2, 1)), np.array([y]), norm
        )
        return found

    @parameterized.parameters(("l2", 5), ("linf", 7))
    def test_of_a_plane(self, norm, length):
        # Between the first class and the others lies 3 x + 4 y = 1.
        self.assertAlmostEqual(self.of((1, 0.5), 0, norm), 4 / length)
        self.assertAlmostEqual(self.of((0, 0), 0, norm), -1 / length)

    def test_classes_that_never_differ(self):
        self.assertEqual(self.of((0, 0), 1, "l2"), 0)  # As likely as its twin.
        self.b = np.array([0.0, 0.1, 0.05])
        self.assertAlmostEqual(self.of((0, 0), 1, "l2"), 0.2)


class NearestTest(parameterized.TestCase):
    @parameterized.parameters(*itertools.product(("l2", "linf"), (3, 7, 1000)))
    def test_beside_a_slow_search(self, norm, block):
        draw = np.random.default_rng(0)
        x, images = draw.random((5, 2, 3, 1)), draw.random((14, 2, 3, 1))
        groups, of = np.arange(5) % 3, np.arange(14) % 4
        away, index = nearest(x, groups, images, of, norm, block)
        for i in range(5):
            found = {
                j: np.linalg.norm(
                    (x[i] - images[j]).ravel(), {"l2": 2, "linf": np.inf}[norm]
                )
                for j in range(14)
                if of[j] != groups[i]
            }
            self.assertEqual(index[i], min(found, key=found.__getitem__))
            self.assertAlmostEqual(away[i], min(found.values()))

    def test_none_of_another_class(self):
        images = np.zeros((2, 1, 1, 1))
        away, _ = nearest(images, np.ones(2), images, np.ones(2), "l2")
        np.testing.assert_array_equal(away, np.inf)


class RefusedTest(parameterized.TestCase):
    def test_names(self):
        networks = {**tiny().networks, "mlp_on_D": helpers.TRAINING}
        with self.assertRaisesRegex(ValueError, "'mlp_on_D' is there already"):
            config(networks=networks)
        with self.assertRaisesRegex(ValueError, "is no name for a folder"):
            config(students={"a/b": helpers.students()["mlp"]})

    def test_no_architecture(self):
        with self.assertRaisesRegex(ValueError, r"build\(num_classes\), got 'mlp'"):
            Student("mlp", helpers.TRAINING)

    @parameterized.parameters(
        ((0.3,), replace(helpers.TRAINING, batch_size=61), "1 .. 60"),
        ((0.3,) * 3, helpers.TRAINING, "1 channels of the images"),
    )
    def test_before_any_work(self, mean, training, words):
        student = Student(models.Linear(mean, (0.38,)), training)
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, words):
                main.run(config(students={"mine": student}), out)
            self.assertEmpty(list(Path(out).rglob("*")))

    @parameterized.parameters({"images": 0}, {"steps": 0}, {"matched": -1})
    def test_closeness(self, **settings):
        with self.assertRaisesRegex(ValueError, "whole number of at least"):
            Closeness(**settings)


class ValidationTest(parameterized.TestCase):
    def test_a_part_of_the_training_images_is_tested_on(self):
        D, test = load("digits", train_examples=60)
        with tempfile.TemporaryDirectory() as out:
            asked = tiny(validation=0.25, seeds=(3,), data_note="drawn by hand")
            made = prepare.prepare(asked, Path(out))
        self.assertEqual(
            main.note(asked), "drawn by hand; tested on 25 % of the training images"
        )
        kept, held = made["D"].value, made["test"].value
        self.assertLen(kept.labels, 45)
        self.assertLen(held.labels, 15)
        both = np.concatenate([kept.images, held.images]).reshape(60, -1)
        order = np.lexsort(both.T), np.lexsort(D.images.reshape(60, -1).T)
        np.testing.assert_array_equal(
            both[order[0]], D.images.reshape(60, -1)[order[1]]
        )
        labels = np.concatenate([kept.labels, held.labels])
        np.testing.assert_array_equal(labels[order[0]], D.labels[order[1]])

    @parameterized.parameters((-0.1, "in .0, 1."), (1.0, "in .0, 1."))
    def test_no_part(self, part, words):
        with self.assertRaisesRegex(ValueError, words):
            tiny(validation=part)

    def test_a_part_without_images(self):
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, "of 60 training images is none"):
                main.run(tiny(validation=0.001), out)


class SetsTest(parameterized.TestCase):
    @parameterized.parameters(Match(3, 0.1), Mislabel(helpers.PUSH, "next"))
    def test_networks_that_do_not_say_their_last_relu_keep_its_gradient(self, recipe):
        D, _ = load("digits", train_examples=20, test_examples=20)
        model = models.MLP((0.3,), (0.38,), widths=(6,)).build(10)
        params, key = model.init(jax.random.key(0), D.images[:1]), jax.random.key(1)
        plain = Network(model._replace(identity_relu=None), params)
        images = [
            replace(recipe, identity_relu=identity)(
                jax.random.clone(key), D, network, env=runs.local()
            ).images
            for identity in (True, False)
            for network in (plain, Network(model, params))
        ]
        np.testing.assert_array_equal(images[0], images[2])
        np.testing.assert_array_equal(images[0], images[3])
        self.assertTrue((images[0] != images[1]).any())

    def test_a_twin_that_is_there_is_not_made_twice(self):
        four = D_R, replace(D_R, name="D_NR"), D_rand, D_det
        noise = Match(2, 0.1, start="noise")
        names = [one.name for one in other_sets(four, noise)]
        self.assertEqual(names[:2], ["D_rand_robust", "D_det_robust"])
        more = other_sets((*four, by_robust(D_rand)), noise)
        self.assertEqual([one.name for one in more], names[1:])

    def test_a_twin_differs_in_its_source(self):
        twin: Set = by_robust(D_rand)
        self.assertEqual((twin.source, twin.attacked), ("robust", False))
        self.assertEqual(twin.recipe, D_rand.recipe)

    def test_students_and_closeness_are_options(self):
        words = "--linear.training.weight-decay 0.5 --closeness None --mlp None"
        asked = options.parse(config(), ["--out", "x", *words.split()]).config
        self.assertEqual(asked.students["linear"].training.weight_decay, 0.5)
        self.assertEqual(list(asked.learners), ["linear"])
        self.assertIsNone(asked.closeness)
        with self.assertRaisesRegex(options.OptionError, "robust cannot be None"):
            options.parse(config(), "--out x --robust None".split())
