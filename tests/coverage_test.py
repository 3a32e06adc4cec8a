"""Intervals that are printed cover the truth: simulated at the README's settings."""

import functools

import numpy as np
from absl.testing import parameterized

from nrf import evaluate, features
from nrf.features import Extremes
from nrf.report.transfer.correlation import interval

_DRAWN = 1500  # Repetitions: 95 % of them are within 1.1 points of 95 %.
_MANY = 1_000_000  # Examples of each side that the truth is known from.


def gaussian(y, generator):
    """Of two normal classes, moved by a fixed distance."""
    z = 0.5 * y + generator.normal(size=y.shape)
    return z, z - 0.4, z + 0.4


def far(y, generator):
    """The same, far apart: the interval of ρ is short, and its bias large."""
    z = 2 * y + generator.normal(size=y.shape)
    return z, z - 1, z + 1


def exponential(y, generator):
    """Skew, and moved by a distance that differs from image to image."""
    z = 1.5 * y + generator.exponential(size=y.shape)
    reach = 1.5 * (0.5 + generator.uniform(size=y.shape))
    return z, z - reach, z + reach


def relu(y, generator):
    """A unit, on for half of its class and for 2 in 100 of the others."""
    z = y - 1 + generator.normal(size=y.shape)
    return tuple(np.maximum(z + reach, 0) for reach in (0, -0.5, 0.5))


def rare(y, generator):
    """A unit, on for 1 in 6 of its class, and attacked for 1 in 15."""
    z = y - 2 + generator.normal(size=y.shape)
    return tuple(np.maximum(z + reach, 0) for reach in (0, -0.5, 0.5))


def drawn(draw, positive, negative, repetitions, seed):
    """Features [N, repetitions], what is reached of them, and y [N, 1]."""
    y = np.concatenate([np.ones(positive), -np.ones(negative)])[:, None]
    generator = np.random.default_rng(seed)
    # More than are asked for: units that are off for all images are no features.
    arrays = draw(np.repeat(y, 5 * repetitions // 4 + 1, axis=1), generator)
    vary = np.flatnonzero(np.ptp(arrays[0], axis=0))[:repetitions]
    values, least, most = (np.float32(a[:, vary]) for a in arrays)
    return values, Extremes(least, most), np.float32(y)


@functools.cache
def truth(draw):
    """ρ and γ of a feature whose sign is known, from a million images of each side."""
    values, extremes, y = drawn(draw, _MANY, _MANY, 1, 100)
    values, least, most = (a[:, 0].astype(float) for a in (values, *extremes))
    side = y[:, 0] > 0
    std = np.sqrt(np.mean((values - values.mean()) ** 2))
    rho = (values[side].mean() - values[~side].mean()) / 2 / std
    return rho, (least[side].mean() - most[~side].mean()) / 2 / std


class UsefulnessTest(parameterized.TestCase):
    @parameterized.product(
        draw=(gaussian, far, exponential, relu, rare),
        # 250 and 1,000 test images, one class of ten; 1,000 of two; few of a class.
        sides=((25, 225), (100, 900), (500, 500), (10, 90)),
    )
    def test_intervals_of_rho_and_gamma(self, draw, sides):
        values, extremes, y = drawn(draw, *sides, _DRAWN, 0)
        found, sign = features.rho(values, y)
        of_gamma = features.gamma(values, extremes, y, np.ones_like(sign))
        for estimate, true, signs in zip(
            (found, of_gamma), truth(draw), (sign[:, 0], 1), strict=True
        ):
            low, high = (a[:, 0].astype(float) for a in estimate[1:])
            # Ten images of a class are fewer than any config of ours takes.
            least = 0.93 if sides[0] == 10 else 0.94
            covered = (low <= signs * true) & (signs * true <= high)
            self.assertGreaterEqual(covered.mean(), least)
            # "Useful", and "useful, not robust", rest on one end each.
            self.assertLess((low > signs * true).mean(), 0.055)
            self.assertLess((high < signs * true).mean(), 0.05)


class CorrelationTest(parameterized.TestCase):
    @parameterized.product(
        true=(0.0, 0.6, 0.95),
        # Points without errors; those of 2,000 test images; of 300, whose errors are
        # as large as half the differences of accuracy.
        images=(None, 2000, 300),
    )
    def test_intervals_of_five_architectures(self, true, images):
        generator = np.random.default_rng(1)
        covered = []
        for _ in range(300):
            z, other = generator.normal(size=(2, 5))
            accuracy = np.clip(0.2 + 0.04 * z, 0.02, 1)
            rate = 0.5 + 0.12 * (true * z + np.sqrt(1 - true**2) * other)
            x, y, errors = accuracy, np.clip(rate, 0, 1), None
            if images:
                x, y = (generator.binomial(images, of) / images for of in (x, y))
                errors = tuple(np.sqrt(of * (1 - of) / images) for of in (x, y))
            low, high = interval(x, y, errors)
            covered.append(low <= true <= high)
        self.assertGreaterEqual(np.mean(covered), 0.93)


class ChanceTest(parameterized.TestCase):
    @parameterized.product(kind=("one label", "two labels", "spread"), seeds=(1, 3))
    def test_networks_without_a_lesson_are_inside(self, kind, seeds):
        """500 images of ten classes, whose labels say nothing of the class."""
        generator = np.random.default_rng(2)

        def confusion():
            order = generator.permutation(10)
            shares = {
                "one label": np.eye(10)[order],
                # Of pairs of classes, as of 4 and 9.
                "two labels": 0.6 * np.eye(10)[order] + 0.4 * np.eye(10)[order[::-1]],
                "spread": generator.dirichlet(np.ones(10), size=10),
            }[kind]
            return np.stack([generator.multinomial(50, of) for of in shares])

        inside = []
        for _ in range(200):
            counts = [confusion() for _ in range(seeds)]
            low, high = evaluate.by_chance(counts)
            inside.append(low <= np.mean([np.trace(of) for of in counts]) / 500 <= high)
        self.assertGreaterEqual(np.mean(inside), 0.93)
