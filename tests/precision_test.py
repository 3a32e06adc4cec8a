"""Sizes of gradients, types of images and JAX's settings change no attack."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from inputs_test import ATTACKS, DRAWING, WEIGHTS, images, labels, network

from nrf import attacks, losses
from nrf.attacks.threat import bracket

SIZES = (1.5e-37, 1e-30, 1e-15, 1e15, 1e30, 1e38)
THREATS = {
    "linf": attacks.linf(0.1),
    "l2": attacks.l2(0.3),
    "l1": attacks.l1(1.0, share=0.3),
    "free": attacks.free(),
}


def keys(count=6):
    return attacks.example_keys(jax.random.key(7), jnp.arange(count))


def linear(size):
    w = np.random.default_rng(0).uniform(0.1, 1, (2, 2, 3)).astype(np.float32)
    return lambda params, x, y: jnp.sum(x * jnp.float32(size) * w[None], (1, 2, 3))


class GradientSizeTest(parameterized.TestCase):
    @parameterized.product(name=list(THREATS), momentum=(0.0, 1.0))
    def test_walks_are_the_same(self, name, momentum):
        def walk(size):
            attack = attacks.pgd(
                linear(size), THREATS[name], steps=4, step_size=0.1, momentum=momentum
            )
            return jax.jit(attack)(keys(), None, images(), labels())

        expected = walk(1.0)
        self.assertGreater(float(jnp.abs(expected - images()).max()), 0.05)
        for size in SIZES[:: 1 if momentum == 0 else 5]:
            np.testing.assert_allclose(walk(size), expected, atol=1e-6)

    @parameterized.product(name=list(THREATS), size=(1e-45, 3e-42, 1e-39, 3e38))
    def test_steps_of_the_smallest_and_largest_gradients(self, name, size):
        generator = np.random.default_rng(1)
        slope = np.float32(size * generator.uniform(-1, 1, (3, 2, 2, 3)))
        slope[0, 0, 0, 0] = size
        exact = np.float64(slope)
        step = np.asarray(THREATS[name].steepest(slope))
        if name in ("l2", "free"):
            length = np.sqrt((exact**2).sum((1, 2, 3), keepdims=True))
            expected = exact / np.where(length > 0, length, 1)
        elif name == "linf":
            expected = np.sign(exact)
        else:
            # Equal ones are moved together.
            least = -np.sort(-np.abs(exact).reshape(3, -1), 1)[:, 3, None, None, None]
            expected = np.where(np.abs(exact) >= least, np.sign(exact), 0)
            expected /= np.maximum(np.abs(expected).sum((1, 2, 3), keepdims=True), 1)
        np.testing.assert_allclose(step, expected, atol=1e-6)

    def test_small_balls_are_kept_to(self):
        for radius in (1e-30, 1e-12):
            d = jnp.full((1, 2, 2, 1), radius)
            projected = np.float64(attacks.l2(radius).project(d))
            np.testing.assert_allclose(np.linalg.norm(projected), radius, rtol=1e-5)
            inside = jnp.full((1, 2, 2, 1), radius / 4)
            np.testing.assert_array_equal(attacks.l2(radius).project(inside), inside)

    @parameterized.parameters(1e-37, 0.3, 2e38)
    def test_brackets_end_at_the_last_bit(self, end):
        end = jnp.full((1, 1, 1, 1), end, jnp.float32)
        top = jnp.full_like(end, 3e38)
        low, high = bracket(lambda a: a < end, jnp.zeros_like(end), top)
        np.testing.assert_array_equal(high, end)
        np.testing.assert_array_equal(low, np.nextafter(np.float32(end), 0))


class HalfPrecisionTest(parameterized.TestCase):
    @parameterized.product(name=list(ATTACKS), jit=(False, True))
    def test_images_are_attacked_in_single_precision(self, name, jit):
        x = images().astype(jnp.bfloat16)
        attack = jax.jit(ATTACKS[name]) if jit else ATTACKS[name]
        x_adv = attack(jax.random.key(3), WEIGHTS, x, labels())
        self.assertEqual(x_adv.dtype, jnp.float32)
        d = np.asarray(x_adv - x.astype(jnp.float32)).reshape(6, -1)
        self.assertLessEqual(np.linalg.norm(d, axis=1).max(), 0.5 * (1 + 1e-6))
        exact = ATTACKS[name](
            jax.random.key(3), WEIGHTS, x.astype(jnp.float32), labels()
        )
        np.testing.assert_allclose(x_adv, exact, atol=1e-5)

    @parameterized.parameters("linf", "l2", "l1", "free")
    def test_balls_are_kept_to(self, name):
        x = np.asarray(images()).astype(np.float16)
        attack = attacks.pgd(
            losses.cross_entropy(network), THREATS[name], steps=9, step_size=0.05
        )
        x_adv = attack(jax.random.key(3), WEIGHTS, x, labels())
        exact = attack(jax.random.key(3), WEIGHTS, np.float32(x), labels())
        np.testing.assert_array_equal(x_adv, exact)

    @parameterized.parameters(jnp.bfloat16, jnp.float16)
    def test_networks_may_answer_in_half_precision(self, dtype):
        def half(params, x):
            return network(params, x).astype(dtype)

        for name in ("cross_entropy", "dlr", "margin"):
            loss = getattr(losses, name)(half)
            for attack in (
                attacks.apgd(loss, attacks.l2(0.5), steps=3),
                attacks.square(loss, attacks.l2(0.5), queries=3),
            ):
                x_adv = attack(keys(), WEIGHTS, images(), labels())
                self.assertEqual(x_adv.dtype, jnp.float32)
                self.assertEqual(loss(WEIGHTS, x_adv, labels()).dtype, jnp.float32)


class SettingsTest(parameterized.TestCase):
    """JAX's global settings."""

    @parameterized.parameters(*DRAWING)
    def test_double_precision_draws_the_same_numbers(self, name):
        x, y, key = images(), labels(), jax.random.key(3)
        expected = ATTACKS[name](key, WEIGHTS, x, y)
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            found = ATTACKS[name](key, WEIGHTS, x, y)
        self.assertEqual(found.dtype, jnp.float32)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    @parameterized.parameters(*THREATS)
    def test_so_do_images_in_double_precision(self, name):
        expected = THREATS[name].sample(keys(), images())
        with jax.enable_x64(True):
            found = THREATS[name].sample(keys(), np.float64(images()))
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_keys_of_other_kinds_are_refused(self):
        x, y, attack = images(), labels(), ATTACKS["pgd"]
        expected = attack(jax.random.key(3), WEIGHTS, x, y)
        with jax.default_prng_impl("rbg"):
            with self.assertRaisesRegex(ValueError, "threefry2x32, got rbg, .* write"):
                attack(jax.random.key(3), WEIGHTS, x, y)
            found = attack(jax.random.key(3, impl="threefry2x32"), WEIGHTS, x, y)
        np.testing.assert_array_equal(found, expected)


class UnknownLabelsTest(parameterized.TestCase):
    @parameterized.product(bad=(-1, 3), name=("cross_entropy", "margin", "dlr"))
    def test_under_jit_they_have_no_loss(self, bad, name):
        loss = jax.jit(getattr(losses, name)(network))
        with jax.debug_nans(False):
            values = loss(WEIGHTS, images(), labels().at[2].set(bad))
        np.testing.assert_array_equal(np.isnan(values), np.arange(6) == 2)
