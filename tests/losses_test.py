"""Losses against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import losses
from nrf.models import Output


def apply(params, x):
    """Features are the pixels; logits are the features times params."""
    features = x.reshape(len(x), -1)
    return Output(features @ params, features)


class LossesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.x = jnp.array([[0.0, 1.0], [0.5, 0.5]]).reshape(2, 1, 2, 1)
        self.params = jnp.array([[2.0, 0.0], [0.0, 1.0]])

    def test_cross_entropy(self):
        loss = losses.cross_entropy(apply)(self.params, self.x, jnp.array([1, 0]))
        # Logits are (0, 1) and (1, 1/2).
        expected = [np.log(1 + np.exp(-1)), np.log(1 + np.exp(-0.5))]
        np.testing.assert_allclose(loss, expected, rtol=1e-6)

    def test_feature_distance(self):
        target = jnp.array([[0.0, 0.0], [0.5, 0.1]])
        distance = losses.feature_distance(apply)(self.params, self.x, target)
        np.testing.assert_allclose(distance, [1.0, 0.4], rtol=1e-6)

    def test_feature_distance_has_slope_zero_where_it_is_zero(self):
        def total(x):
            target = self.x.reshape(2, -1)
            return losses.feature_distance(apply)(self.params, x, target).sum()

        np.testing.assert_array_equal(jax.grad(total)(self.x), jnp.zeros_like(self.x))

    def test_negate(self):
        y = jnp.array([1, 0])
        loss = losses.cross_entropy(apply)
        np.testing.assert_array_equal(
            losses.negate(loss)(self.params, self.x, y), -loss(self.params, self.x, y)
        )
