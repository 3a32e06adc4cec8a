"""Gradients that are true, and each way not to be, of known functions."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import attacks, losses
from nrf.evaluate.accuracy import make_logits, of_images
from nrf.evaluate.slopes import make_look, make_slopes
from nrf.types import outputs

COUNT = 12
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(60, 196, (COUNT, 4, 4, 1)).astype(np.float32) / 255
LABELS = np.arange(COUNT, dtype=np.int32) % 2
EPSILON = 0.4


def plane(params, x):
    """A boundary at x.sum() = 5; the slope is the same in every pixel."""
    brightness = 1.5 * (x.sum((1, 2, 3)) - 5)
    return jnp.stack([-brightness, brightness], 1)


def custom(slope):
    """x, with `slope` made of its gradient."""

    @jax.custom_vjp
    def same(x):
        return x

    same.defvjp(lambda x: (x, None), lambda _, g: (slope(g),))
    return lambda params, x: plane(params, same(x))


CHECKERED = np.tile(np.float32([1, -1]), 8).reshape(1, 4, 4, 1)


def checkered(g):
    """Half of the pixels' slopes turned: a step along it gives nothing."""
    return g * CHECKERED


def wave(params, x):
    """Up and down 2,000 times in a unit, on a slope that is 20 times smaller."""
    return plane(params, x + 0.01 * jnp.sin(2000 * x))


def keyed(params, x):
    return plane(params, x + 0.5 * jnp.sin(1e6 * x))


def grid(params, x):
    """Half as sure of everything off the 8-bit grid."""
    off = jnp.abs(255 * x - jnp.round(255 * x)).max((1, 2, 3)) > 0.01
    return plane(params, x) * jnp.where(off, 0.5, 1)[:, None]


def rounded(params, x):
    return plane(params, jnp.round(64 * x) / 64)


def half(params, x):
    return plane(params, x.astype(jnp.bfloat16)).astype(jnp.float32)


def observed(apply, loss=None, threat_at=attacks.l2, epsilon=EPSILON):
    """By name, at how many images; those at none are left out."""
    loss = (loss or losses.cross_entropy)(apply)
    logits, look = make_logits(apply), make_look(outputs(apply), loss)
    slopes = make_slopes(logits, look, threat_at)
    z = of_images(logits, None, IMAGES)
    seen = slopes(None, jnp.float32(epsilon), IMAGES, LABELS, z)
    counts = {name: int(np.sum(each)) for name, each in seen._asdict().items()}
    return {name: count for name, count in counts.items() if count}


class SlopesTest(parameterized.TestCase):
    @parameterized.parameters(
        (plane, {}),
        (half, {}),
        (lambda params, x: 1000 + plane(params, x), {}),
        (lambda params, x: 1e-3 * plane(params, x), {}),
        (custom(lambda g: -g), {"reversed": COUNT}),
        (custom(checkered), {"replaced": COUNT}),
        (wave, {"shattered": COUNT}),
        (grid, {"detected": COUNT}),
        (rounded, {"gone": COUNT}),
    )
    def test_each_is_seen_at_every_image(self, apply, expected):
        self.assertEqual(observed(apply), expected)

    def test_noise_that_is_keyed_by_the_image(self):
        # By chance, some change by little.
        self.assertGreater(observed(keyed)["erratic"], COUNT // 2)

    @parameterized.parameters(
        (losses.margin, {}),
        (losses.dlr, {}),
        (lambda apply: losses.negate(losses.cross_entropy(apply)), {"astray": COUNT}),
        (
            lambda apply: lambda params, x, y: jnp.sum(x * CHECKERED, (1, 2, 3)),
            {"astray": COUNT},
        ),
        (lambda apply: lambda params, x, y: 0 * x[:, 0, 0, 0], {"gone": COUNT}),
    )
    def test_losses(self, loss, expected):
        self.assertEqual(observed(plane, loss), expected)

    @parameterized.parameters(
        (attacks.linf, 8 / 255),
        (attacks.l1, 4.0),
        (attacks.l2, 1e-6),
        (attacks.l2, 9.0),
    )
    def test_norms_and_radii(self, threat_at, epsilon):
        self.assertEqual(observed(plane, None, threat_at, epsilon), {})
        expected = {} if epsilon < 1e-3 else {"reversed": COUNT}
        found = observed(custom(lambda g: -g), None, threat_at, epsilon)
        self.assertEqual(found, expected)


class LookTest(parameterized.TestCase):
    def test_steep_is_along_the_margin_or_along_given_logits(self):
        def curved(params, x):
            pixels = x.reshape(COUNT, -1)
            return jnp.stack([pixels.sum(1), (pixels**2).sum(1), pixels[:, 0]], 1)

        along = np.random.default_rng(1).normal(size=(COUNT, 3)).astype(np.float32)
        look = make_look(outputs(curved), losses.cross_entropy(curved))
        for is_given, loss in (
            (False, losses.margin(curved)),
            (True, lambda params, x, y: (along * curved(params, x)).sum(1)),
        ):
            seen = look(None, IMAGES, LABELS, along, np.bool_(is_given))
            expected = jax.grad(lambda x, f=loss: f(None, x, LABELS).sum())(IMAGES)
            np.testing.assert_allclose(seen.steep, expected, atol=1e-6)
            np.testing.assert_allclose(seen.logits, curved(None, IMAGES), rtol=1e-6)
