"""The two ellipses: where the points lie, and what both ways of training find."""

import runpy
import tempfile
from dataclasses import replace
from pathlib import Path

import helpers
import numpy as np
from absl.testing import parameterized

from nrf.config import Work
from nrf.experiments import ellipses
from nrf.runs import Steps, local

CONFIG = helpers.ROOT / "configs" / "gaussian.py"


class EllipsesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.settings = runpy.run_path(str(CONFIG))["config"].ellipses

    def run_in(self, folder, settings, **options):
        env = local(Work(devices=1), **options)
        return ellipses.run(settings, Steps(Path(folder), 0, env), grid=5)

    def test_points_fill_the_ellipses_evenly(self):
        settings = replace(self.settings, examples=20_000)
        train, test = ellipses.load(settings, 0)
        self.assertFalse((train.images[:100] == test.images[:100]).any())
        points = train.images.reshape(-1, 2)
        signs = 2 * train.labels[:, None] - 1
        disc = ((points - 0.5) * signs - settings.centre) / settings.axes
        radius = np.linalg.norm(disc, axis=1)
        self.assertLess(radius.max(), 1 + 1e-5)
        # Half of a disc's area is within 1 / √2 of its centre.
        self.assertAlmostEqual(np.mean(radius < 0.5**0.5), 0.5, delta=0.015)
        np.testing.assert_allclose(disc.mean(0), 0, atol=0.02)
        # A vertical line has room for the adversary on both sides.
        gap = np.abs(points[:, 0] - 0.5).min()
        self.assertGreater(gap, self.settings.evaluation.epsilons[0])

    def test_only_adversarial_training_finds_the_robust_boundary(self):
        settings = replace(self.settings, examples=1000)
        with tempfile.TemporaryDirectory() as out:
            results = self.run_in(out, settings)
            heard = helpers.Recorder()
            self.assertEqual(self.run_in(out, settings, progress=heard), results)
            self.assertEmpty(heard.begun)
        standard, adversarial = results["networks"]
        for network in (standard, adversarial):
            self.assertEqual(network["total"], 1000)
            self.assertGreater(network["correct"], 990)
            # Margins at the corners near the classes have the classes' signs.
            self.assertLess(network["margins"][0][0], 0)
            self.assertGreater(network["margins"][-1][-1], 0)
        self.assertLess(standard["robustly_correct"], 100)
        self.assertGreater(adversarial["robustly_correct"], 950)

    def test_batches_are_refused_before_any_work(self):
        settings = replace(self.settings, examples=50)
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, "must be in 1 .. 50.* got 100"):
                self.run_in(out, settings)
            self.assertEmpty(list(Path(out).rglob("*")))
