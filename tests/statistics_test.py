"""Intervals of differences and accuracies: by hand, and how often they are right."""

import numpy as np
from absl.testing import parameterized
from scipy import stats

from nrf.evaluate import Score
from nrf.evaluate.statistics import Difference, over_seeds, pack, paired, unpack

REPETITIONS = 800


def pair(generator, accuracies, *, alike, images=300, seeds=5, spread=0.0):
    """[S, N] bool of two networks with the expected `accuracies`.

    An image is as hard for all in the share `alike` of cases, and otherwise for each by
    itself; accuracies vary over seeds by the share `spread` of themselves.
    """
    shape = (2, seeds, images)
    common = generator.uniform(size=(1, 1, images))
    own = generator.uniform(size=shape)
    level = np.where(generator.uniform(size=shape) < alike, common, own)
    lucky = 1 + spread * generator.normal(size=(2, seeds, 1))
    return level < np.reshape(accuracies, (2, 1, 1)) * lucky


def coverage(interval, truth, **options):
    """How often the interval holds the truth, over repetitions."""
    generator = np.random.default_rng(0)
    ends = np.array([interval(pair(generator, **options)) for _ in range(REPETITIONS)])
    return np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))


class PairedTest(parameterized.TestCase):
    def test_by_hand(self):
        a = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1]], bool)
        b = np.array([[0, 1, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]], bool)
        difference = paired(a, b)
        self.assertAlmostEqual(difference.mean, 6 / 12)
        # Of 1/4, 2/4 and 3/4: standard deviation 1/4; t of 2 degrees is 4.3027.
        half = 4.302653 / 4 / np.sqrt(3)
        np.testing.assert_allclose(
            difference.over_seeds, (0.5 - half, 0.5 + half), rtol=1e-6
        )
        # Of 2/3, 1/3, 2/3, 1/3 and 1, -1: mean 1/3, squares 28/9.
        half = 2.570582 * np.sqrt((28 / 9 - 6 / 9) / 5 / 6)
        np.testing.assert_allclose(
            difference.over_images, (1 / 3 - half, 1 / 3 + half), rtol=1e-6
        )

    def test_other_order_is_the_negative(self):
        a, b = pair(np.random.default_rng(1), (0.6, 0.3), alike=0.5)
        there, back = paired(a, b), paired(b, a)
        self.assertEqual(there.mean, -back.mean)
        for name in ("over_seeds", "over_images"):
            low, high = getattr(there, name)
            np.testing.assert_allclose(getattr(back, name), (-high, -low))

    def test_scipy_s_interval_over_seeds(self):
        values = np.array([0.192, 0.064, 0.122])
        ends = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        np.testing.assert_allclose(over_seeds(values), (ends.low, ends.high))
        # Three seeds that all agree show little: the interval holds 0.
        np.testing.assert_allclose(over_seeds(values), (-0.033, 0.285), atol=1e-3)
        self.assertIsNone(over_seeds(values[:1]))

    @parameterized.parameters(
        ((0.1, 0.2), (0.1, 0.2), True, False),
        ((-0.1, 0.3), (0.1, 0.2), False, False),
        ((0.1, 0.2), (-0.1, 0.3), False, False),
        ((-0.3, -0.1), (-0.3, -0.1), False, True),
        ((-0.3, -0.1), (-0.3, 0.1), False, False),
        ((-0.3, 0.1), (-0.3, -0.1), False, False),
        (None, (0.1, 0.2), False, False),
        (None, (-0.2, -0.1), False, False),
    )
    def test_both_intervals_decide(self, seeds, images, above, below):
        difference = Difference(0.0, seeds, images)
        self.assertEqual(difference.above(), above)
        self.assertEqual(difference.below(), below)
        self.assertFalse(difference.above(0.15))
        self.assertFalse(difference.below(-0.15))

    def test_one_seed_has_no_interval_over_seeds(self):
        a, b = pair(np.random.default_rng(0), (0.9, 0.1), alike=0, seeds=1)
        self.assertIsNone(paired(a, b).over_seeds)

    @parameterized.parameters(
        ((2, 3), (2, 4), bool, "the same seeds and images"),
        ((2, 3), (3, 3), bool, "the same seeds and images"),
        ((3,), (3,), bool, r"got bool \(3,\)"),
        ((2, 0), (2, 0), bool, r"got bool \(2, 0\)"),
        ((2, 3), (2, 3), int, "a must say which .* as booleans .* got int64"),
    )
    def test_refused(self, a, b, kind, message):
        with self.assertRaisesRegex(ValueError, message):
            paired(np.zeros(a, kind), np.zeros(b, kind))


class CoverageTest(parameterized.TestCase):
    """That 95 % intervals hold the truth in 93 % of repetitions or more."""

    @parameterized.product(
        # From the middle of the tables to their ends.
        accuracies=((0.55, 0.43), (0.05, 0.02), (0.01, 0.0), (0.99, 0.97)),
        alike=(0.1, 0.8),
    )
    def test_over_images(self, accuracies, alike):
        shown = coverage(
            lambda both: paired(*both).over_images,
            accuracies[0] - accuracies[1],
            accuracies=accuracies,
            alike=alike,
        )
        self.assertGreaterEqual(shown, 0.93)

    @parameterized.product(
        accuracies=((0.55, 0.43), (0.2, 0.05)), spread=(0.02, 0.15), seeds=(3, 5)
    )
    def test_over_seeds(self, accuracies, spread, seeds):
        shown = coverage(
            lambda both: paired(*both).over_seeds,
            accuracies[0] - accuracies[1],
            accuracies=accuracies,
            alike=0,
            spread=spread,
            seeds=seeds,
        )
        self.assertGreaterEqual(shown, 0.93)

    def test_nothing_is_shown_where_there_is_nothing(self):
        generator = np.random.default_rng(0)
        both = (
            pair(generator, (0.4, 0.4), alike=0.5, spread=0.1)
            for _ in range(REPETITIONS)
        )
        shown = np.mean([paired(*one).above() for one in both])
        self.assertLessEqual(shown, 0.025)

    # Not by simulation: the probability that so many are right is known. Below 1 % it
    # is 91 % at some accuracies.
    @parameterized.parameters(200, 500)
    def test_wilson(self, n):
        counts = np.arange(n + 1)
        low, high = np.array([Score(int(k), n).interval for k in counts]).T
        for p in (0.01, 0.02, 0.05, 0.2, 0.43, 0.6, 0.97):
            holds = (low <= p) & (p <= high)
            shown = stats.binom.pmf(counts, n, p)[holds].sum()
            self.assertGreaterEqual(shown, 0.93, p)


class PackTest(parameterized.TestCase):
    @parameterized.parameters(1, 7, 8, 9, 500)
    def test_there_and_back(self, total):
        right = np.random.default_rng(total).uniform(size=total) < 0.5
        np.testing.assert_array_equal(unpack(pack(right), total), right)

    def test_a_bit_for_each_image(self):
        self.assertEqual(pack(np.array([1, 0, 0, 0, 0, 0, 1, 0, 1], bool)), "goA=")

    @parameterized.parameters((17,), (8,))
    def test_refuses_another_number_of_images(self, total):
        with self.assertRaisesRegex(ValueError, f"which of {total} images .* got 2"):
            unpack(pack(np.ones(9, bool)), total)
