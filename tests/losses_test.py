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

    def test_margin(self):
        # Logits are (0, 1) and (1, 1/2).
        margins = losses.margin(apply)(self.params, self.x, jnp.array([1, 1]))
        np.testing.assert_allclose(margins, [-1, 0.5], rtol=1e-6)

    def test_feature_distance(self):
        target = jnp.array([[0.0, 0.0], [0.5, 0.1]])
        distance = losses.feature_distance(apply)(self.params, self.x, target)
        np.testing.assert_allclose(distance, [1.0, 0.4], rtol=1e-6)

    def test_feature_distance_has_slope_zero_where_it_is_zero(self):
        def total(x):
            target = self.x.reshape(2, -1)
            return losses.feature_distance(apply)(self.params, x, target).sum()

        np.testing.assert_array_equal(jax.grad(total)(self.x), jnp.zeros_like(self.x))

    def test_cosine_distance(self):
        # Features are (0, 1) and (1/2, 1/2).
        target = jnp.array([[0.0, -3.0], [2.0, 0.0]])
        distance = losses.cosine_distance(apply)(self.params, self.x, target)
        np.testing.assert_allclose(distance, [2, 1 - np.sqrt(0.5)], rtol=1e-6)

    def test_cosine_distance_of_nothing(self):
        def total(x):
            return losses.cosine_distance(apply)(self.params, x, jnp.ones((2, 2))).sum()

        value, slope = jax.value_and_grad(total)(jnp.zeros_like(self.x))
        self.assertEqual(value, 2)
        np.testing.assert_array_equal(slope, jnp.zeros_like(self.x))

    @parameterized.parameters(
        ("cross_entropy", False),
        ("margin", False),
        ("dlr", False),
        ("targeted_margin", True),
        ("targeted_dlr", True),
        ("feature_distance", None),
        ("cosine_distance", None),
    )
    def test_networks_may_return_plain_logits(self, name, pair):
        def plain(params, x):
            return apply(params, x).logits

        def full(params, x):
            return Output(plain(params, x), plain(params, x))

        y = jnp.array([1, 0])
        y = jnp.eye(2) if pair is None else (1 - y, y) if pair else y
        one, other = (
            getattr(losses, name)(network)(self.params, self.x, y)
            for network in (plain, full)
        )
        np.testing.assert_array_equal(one, other)

    def test_judged_takes_plain_logits(self):
        def first_logit(apply):
            return lambda params, x, y: apply(params, x).logits[:, 0]

        both = losses.judged(
            lambda params, x: apply(params, x).logits,
            losses.cross_entropy,
            first_logit,
        )
        y = jnp.array([1, 1])
        value, judged = both(self.params, self.x, y)
        loss = losses.cross_entropy(apply)(self.params, self.x, y)
        np.testing.assert_array_equal(value, loss)
        np.testing.assert_allclose(judged, [0, 1], rtol=1e-6)

    def test_disentangled(self):
        y, t = jnp.array([1, 0]), jnp.array([0, 0])
        loss = losses.cross_entropy(apply)
        others = jnp.stack([2 * self.params, jnp.zeros((2, 2))])
        total = losses.disentangled(loss)(
            {"source": self.params, "others": others}, self.x, (t, y)
        )
        # The second of the others has a loss of log 2 everywhere.
        kept = (loss(2 * self.params, self.x, y) + np.log(2)) / 2
        expected = loss(self.params, self.x, t) + kept
        np.testing.assert_allclose(total, expected, rtol=1e-6)

    def test_negate(self):
        y = jnp.array([1, 0])
        loss = losses.cross_entropy(apply)
        np.testing.assert_array_equal(
            losses.negate(loss)(self.params, self.x, y), -loss(self.params, self.x, y)
        )


class MarginsTest(parameterized.TestCase):
    """Logits are (5, 2, 1, -1) for the first image and (0, 3, 3, 1) for the second."""

    def setUp(self):
        super().setUp()
        self.logits = jnp.array([[5.0, 2.0, 1.0, -1.0], [0.0, 3.0, 3.0, 1.0]])
        self.x = jnp.zeros((2, 1, 1, 1))
        self.y = jnp.array([0, 3])
        self.t = jnp.array([2, 1])

    def value(self, loss, y, logits=None):
        logits = self.logits if logits is None else logits
        return loss(lambda params, x: Output(params, params))(logits, self.x, y)

    def test_margin(self):
        np.testing.assert_allclose(self.value(losses.margin, self.y), [-3, 2])

    def test_margin_does_not_look_at_a_target(self):
        pair = self.t, self.y
        np.testing.assert_allclose(self.value(losses.margin, pair), [-3, 2])

    def test_judged_is_both_by_one_pass(self):
        calls = []

        def apply(params, x):
            calls.append(x)
            return Output(params, params)

        pair = self.t, self.y
        both = losses.judged(apply, losses.targeted_margin, losses.margin)
        first, second = both(self.logits, self.x, pair)
        np.testing.assert_allclose(first, [-4, 2])
        np.testing.assert_allclose(second, [-3, 2])
        self.assertLen(calls, 1)

    def test_targeted_margin(self):
        pair = self.t, self.y
        np.testing.assert_allclose(self.value(losses.targeted_margin, pair), [-4, 2])

    def test_dlr(self):
        # (2 - 5) / (5 - 1) and (3 - 1) / (3 - 1).
        np.testing.assert_allclose(self.value(losses.dlr, self.y), [-3 / 4, 1])

    def test_targeted_dlr(self):
        # (1 - 5) / (5 - (1 - 1) / 2) and (3 - 1) / (3 - (1 + 0) / 2).
        value = self.value(losses.targeted_dlr, (self.t, self.y))
        np.testing.assert_allclose(value, [-4 / 5, 2 / 2.5])

    def test_dlr_does_not_depend_on_scale_and_shift(self):
        moved = 7 * self.logits + 3
        for loss, y in (
            (losses.dlr, self.y),
            (losses.targeted_dlr, (self.t, self.y)),
        ):
            np.testing.assert_allclose(
                self.value(loss, y, moved), self.value(loss, y), rtol=1e-6
            )

    @parameterized.parameters(2, 3)
    def test_few_classes(self, count):
        logits, y, t = self.logits[:, :count], jnp.array([0, 1]), jnp.array([1, 0])
        targeted = self.value(losses.targeted_dlr, (t, y), logits)
        np.testing.assert_allclose(targeted, [-3, -3])
        # With three classes (2 - 5) / (5 - 1) and (3 - 3) / (3 - 0).
        expected = {2: [-3, -3], 3: [-3 / 4, 0]}[count]
        np.testing.assert_allclose(self.value(losses.dlr, y, logits), expected)

    def test_equal_logits_have_finite_slopes(self):
        for loss, y in (
            (losses.margin, self.y),
            (losses.dlr, self.y),
            (losses.targeted_dlr, (self.t, self.y)),
        ):

            def total(logits, loss=loss, y=y):
                return self.value(loss, y, logits).sum()

            slope = jax.grad(total)(jnp.zeros((2, 4)))
            self.assertTrue(bool(jnp.isfinite(slope).all()))

    @parameterized.parameters("margin", "dlr")
    def test_positive_exactly_where_the_network_is_wrong(self, name):
        logits = jax.random.normal(jax.random.key(0), (200, 5))
        y = jnp.arange(200) % 5
        loss = getattr(losses, name)(lambda params, x: Output(params, params))
        wrong = loss(logits, jnp.zeros((200, 1, 1, 1)), y) > 0
        np.testing.assert_array_equal(wrong, logits.argmax(-1) != y)
