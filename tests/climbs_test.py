"""Attacks by the programs that evaluation shares, beside those of their own."""

import jax
import numpy as np
from absl.testing import parameterized

from nrf import devices, evaluate, losses, synthesize
from nrf.config import PGD
from nrf.experiments import build, climbs
from nrf.models import Small
from nrf.types import Dataset

NET = build.model(Small((0.4,), (0.3,), widths=(5,)), 4)
IMAGES = np.random.default_rng(0).random((10, 6, 6, 1), np.float32)
LABELS = np.arange(10, dtype=np.int32) % 4
TARGETS = (LABELS + 1) % 4
PARAMS = NET.init(jax.random.key(0), IMAGES[:1])


class MislabellerTest(parameterized.TestCase):
    @parameterized.parameters(
        (PGD("l2", 0.5, steps=7, step_size=0.13), -1, False),
        (PGD("linf", 0.1, 3, 0.03, True, 2, keep_best=True), 1, True),
    )
    def test_images_are_those_of_a_program_of_its_own(self, settings, sign, identity):
        apply = build.identity_relu(NET) if identity else NET.apply
        climbed = losses.cross_entropy(apply)
        if sign < 0:
            climbed = losses.negate(climbed)
        own = synthesize.make_mislabel(apply, build.attack(settings, climbed))
        shared = climbs.mislabeller(NET, settings, identity, sign)
        one, other = (
            synthesize.mislabel(
                jax.random.key(1),
                perturb,
                PARAMS,
                Dataset(IMAGES, LABELS, tuple("abcd")),
                TARGETS,
                batch_size=10,
                mesh=devices.make_mesh(1),
            )
            for perturb in (own, shared)
        )
        np.testing.assert_array_equal(other.images, one.images)
        np.testing.assert_array_equal(other.reached, one.reached)
        self.assertGreater(np.abs(one.images - IMAGES).max(), 0.01)

    def test_nothing_planted_leaves_the_network_as_it_is(self):
        """And its gradients, whatever else stands in the readout."""
        nothing = np.zeros(10, bool)
        w = np.random.default_rng(1).normal(size=(10, 4)).astype("f")

        def total(x, planted):
            readout = evaluate.Readout(planted, w, w, w[:, 0])
            z = evaluate.read(NET.apply)((PARAMS, readout), x).logits
            return (w * z).sum(), z

        gradient = jax.grad(total, has_aux=True)
        slope, z = gradient(IMAGES, nothing)
        expected = jax.grad(lambda x: (w * NET.apply(PARAMS, x).logits).sum())(IMAGES)
        np.testing.assert_array_equal(slope, expected)
        np.testing.assert_array_equal(z, NET.apply(PARAMS, IMAGES).logits)
        _, z = gradient(IMAGES, ~nothing)
        self.assertEqual(set(z.argmax(-1).tolist()), {0, 1})
        self.assertLess(z[:, 2:].max(), -1e8)
