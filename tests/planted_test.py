"""The planted features: closed forms against the images themselves, and a whole run."""

import runpy
import tempfile
from dataclasses import replace

import helpers
import jax
import numpy as np
from absl.testing import parameterized
from pages import words

from nrf.config import Work
from nrf.data import planted
from nrf.experiments import main
from nrf.report import answers
from nrf.report.results import measures
from nrf.theory import planted as truth

CONFIG = helpers.ROOT / "configs" / "planted.py"
RADII = (0.0, 0.075, 0.15)


def coordinates(dataset):
    return (dataset.images.reshape(len(dataset.images), -1) - 0.5) @ planted.basis().T


class ClosedFormTest(parameterized.TestCase):
    def test_basis_is_orthonormal_and_starts_with_the_features(self):
        basis = planted.basis()
        np.testing.assert_allclose(basis @ basis.T, np.eye(64), atol=1e-12)
        shade, checker = basis[:2].reshape(2, 8, 8)
        np.testing.assert_allclose(shade[:4], np.full((4, 8), -1 / 8))
        np.testing.assert_allclose(shade[4:], np.full((4, 8), 1 / 8))
        np.testing.assert_allclose(np.abs(checker), np.full((8, 8), 1 / 8))
        np.testing.assert_allclose(checker[1:], -checker[:-1])

    def test_images_have_the_moments(self):
        data = planted.load(20_000)[0]
        signs = 2.0 * data.labels - 1
        mean, variance = planted.moments()
        signed = coordinates(data) * signs[:, None]
        # Five standard errors.
        error = 5 * np.sqrt(variance / 20_000)
        self.assertTrue((np.abs(signed.mean(0) - mean) < error).all())
        np.testing.assert_allclose(signed.var(0), variance, rtol=0.06)

    @parameterized.parameters("D", "D, adversarial", "D_det")
    def test_accuracies_of_classifiers(self, name):
        data = planted.load(20_000)[1]
        a = truth.answers(0.15, 0.2)[name]
        score = coordinates(data) @ a * (2.0 * data.labels - 1)
        for epsilon in (0.0, 0.075, 0.15):
            right = (score > epsilon * np.linalg.norm(a)).mean()
            self.assertAlmostEqual(right, truth.accuracy(a, epsilon), delta=0.012)

    def test_usefulness_of_features(self):
        data = planted.load(20_000)[1]
        signs = 2.0 * data.labels - 1
        for a in np.eye(64)[:2]:
            feature = coordinates(data) @ a
            scale = np.sqrt((feature**2).mean())
            for epsilon in (0.0, 0.15):
                useful = (signs * feature).mean() / scale
                useful -= epsilon * np.linalg.norm(a) / scale
                self.assertAlmostEqual(useful, truth.usefulness(a, epsilon), delta=0.02)
        # The point of the data set: both useful, the better one not robustly so.
        shade, checker = np.eye(64)[:2]
        self.assertGreater(truth.usefulness(checker), truth.usefulness(shade))
        self.assertLess(truth.usefulness(checker, 0.15), 0)
        self.assertGreater(truth.usefulness(shade, 0.15), 0.3)

    def test_the_robust_answer_is_the_most_robust(self):
        best = truth.answers(0.15, 0.2)["D, adversarial"]
        top = truth.accuracy(best, 0.15)
        generator = np.random.default_rng(0)
        for size in (0.01, 0.1, 1.0):
            for change in generator.standard_normal((50, 64)):
                other = best + size * np.linalg.norm(best) * change / 8
                self.assertLessEqual(truth.accuracy(other, 0.15), top + 1e-6)

    def test_other_settings_have_other_answers(self):
        config = runpy.run_path(str(CONFIG))["config"]
        robust = config.networks["robust"]
        weak = replace(robust, attack=replace(robust.attack, epsilon=0.01))
        changed = replace(config, networks={"robust": weak}, sets=config.sets[:1])
        found = truth.right_answers(changed)
        self.assertEqual(list(found), ["robust", "on_D_R"])
        standard = truth.answers(0.15, 0.2)["D"]
        # Nearly the standard classifier, which is more accurate and less robust.
        accuracies = [entry["accuracy"] for entry in found["robust"]]
        expected = [truth.accuracy(standard, e) for e in RADII]
        np.testing.assert_allclose(accuracies, expected, atol=0.05)


class EffectsTest(parameterized.TestCase):
    """The whole job, whose right answers are known."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        config = replace(runpy.run_path(str(CONFIG))["config"], seeds=(0,))
        # Several devices would wait for each other in each of many short steps.
        config = replace(config, work=Work(devices=1))
        # How believable they are is counted where gradients vanish, below.
        quick = replace(config.evaluation, thorough=())
        config = replace(config, evaluation=quick)
        with tempfile.TemporaryDirectory() as out, jax.debug_key_reuse(False):
            cls.results = main.run(config, out)
        cls.accuracy = {
            (row["network"], row["epsilon"]): row["correct"] / row["total"]
            for row in cls.results["rows"]
        }
        push = config.sets[-1].recipe.attack
        cls.answers = truth.answers(
            config.networks["robust"].attack.epsilon, push.epsilon
        )

    @parameterized.parameters(
        ("standard", "D", 0.01),
        ("robust", "D, adversarial", 0.02),
        ("on_D_R", "D_R", 0.02),
        ("on_D_NR", "D_NR", 0.01),
    )
    def test_standard_accuracy_is_the_right_answer(self, network, answer, delta):
        expected = truth.accuracy(self.answers[answer])
        self.assertAlmostEqual(self.accuracy[network, 0.0], expected, delta=delta)

    def test_robust_features_make_standard_training_robust(self):
        # At both radii: at the smaller one the right answers differ by 0.1.
        for epsilon, more in ((0.075, 0.03), (0.15, 0.5)):
            expected = truth.accuracy(self.answers["D, adversarial"], epsilon)
            measured = self.accuracy["robust", epsilon]
            self.assertAlmostEqual(measured, expected, delta=0.02)
            on_robust = self.accuracy["on_D_R", epsilon]
            self.assertGreater(on_robust, self.accuracy["standard", epsilon] + more)
            self.assertGreater(on_robust, self.accuracy["on_D_NR", epsilon] + more)

    def test_every_robust_accuracy_is_believable(self):
        # Where all units of a network are of one class no gradient leads away from the
        # other; of eight units that is rare.
        for row in self.results["rows"]:
            if row["attack"] != "none":
                self.assertLess(row["evidence"]["missed"], 40, row["network"])

    def test_right_answers_are_beside_them_on_the_page(self):
        for name, of in (("standard", "D"), ("robust", "D, adversarial")):
            for entry in self.results["answers"][name]:
                expected = truth.accuracy(self.answers[of], entry["epsilon"])
                self.assertAlmostEqual(entry["accuracy"], expected)
        self.assertLen(self.results["answers"], 6)
        said = words(answers.section(self.results, measures(self.results)))
        right = [f"{100 * truth.accuracy(self.answers['D_R'], e):.1f} %" for e in RADII]
        got = [f"{100 * self.accuracy['on_D_R', e]:.1f} %" for e in RADII]
        pairs = zip(got, right, strict=True)
        told = " ".join(part for pair in pairs for part in pair)
        self.assertIn(f"D R {told}", said)

    @parameterized.parameters("D_rand", "D_det")
    def test_wrong_labels_teach_the_true_ones(self, name):
        # Between chance and the right answer, and by the feature that is not robust.
        self.assertGreater(self.accuracy[f"on_{name}", 0.0], 0.75)
        self.assertLess(self.accuracy[f"on_{name}", 0.15], 0.25)

    def test_which_features_the_networks_have(self):
        standard, robust = (entry["rows"] for entry in self.results["features"])
        # No feature is more useful than the best linear one, or than the shade if it
        # withstands what reverses the chessboard.
        best = truth.usefulness(self.answers["D"])
        self.assertLess(max(row["rho"] for row in standard), best + 0.02)
        shade = truth.usefulness(np.eye(64)[0], 0.15)
        self.assertLess(max(row["gamma_attacked"] for row in robust), shade + 0.03)
        for row in robust:
            self.assertEqual(row["verdict"], "robustly useful")
        verdicts = [row["verdict"] for row in standard]
        self.assertGreater(verdicts.count("useful, not robust"), len(verdicts) / 2)

    def test_the_attack_kept_to_its_ball_and_worked(self):
        pushed = [m for m in self.results["constructed"] if "max_norm" in m]
        self.assertEqual([made["set"] for made in pushed], ["D_rand", "D_det"])
        for made in pushed:
            self.assertGreater(made["reached_target"], 0.9)
            self.assertAlmostEqual(made["max_norm"], 0.2, places=4)

    def test_matching_brought_features_together(self):
        matched = [m for m in self.results["constructed"] if "final_distance" in m]
        self.assertEqual([made["set"] for made in matched], ["D_R", "D_NR"])
        for made in matched:
            self.assertLess(made["final_distance"], 0.1 * made["start_distance"])
