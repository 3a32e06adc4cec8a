"""Robust accuracy in one call, of networks whose accuracy is known beforehand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import attacks, devices, evaluate, losses
from nrf.evaluate import BELIEVABLE, Score
from nrf.types import Model, Network, Output

EPSILON = 0.09  # Reaches the nearest 4 of the 16 images below.


def bright(params, x):
    """Plain logits: class 1 if the image is brighter than grey."""
    brightness = (x.sum((1, 2, 3)) - 2) * params
    return jnp.stack([-brightness, brightness], 1)


def ladder():
    """16 images of 4 pixels, at l2 distances ±0.025, ±0.075, .. ±0.375 from grey.

    A pattern keeps them away from grey itself.
    """
    distance = np.repeat((np.arange(8) + 0.5) / 20, 2)
    labels = np.arange(16) % 2
    pixels = 0.5 + (labels - 0.5) * distance
    pattern = 0.25 * np.array([1, -1, -1, 1]).reshape(1, 2, 2, 1)
    return np.float32(pixels[:, None, None, None] + pattern), labels


def measure(apply=bright, threat=None, params=1.0, **options):
    x, y = options.pop("x", ladder()[0]), options.pop("y", ladder()[1])
    threat = threat or attacks.l2(EPSILON)
    return evaluate.robust_accuracy(apply, params, x, y, threat, **options)


def pgd(**options):
    return attacks.pgd(
        losses.cross_entropy(lambda params, x: Output(bright(params, x), x)),
        attacks.l2(EPSILON),
        **{"steps": 5, "step_size": 0.05, **options},
    )


def nothing(keys, params, x, y):
    return x


@functools.cache
def by_autoattack():
    return measure()


class AutoAttackTest(parameterized.TestCase):
    def test_finds_the_known_boundary(self):
        robust = by_autoattack()
        self.assertEqual(robust.score, Score(12, 16))
        self.assertEqual(robust.verdict, BELIEVABLE)
        self.assertEqual(
            robust.components,
            {
                "clean": Score(16, 16),
                "apgd-ce": Score(12, 16),
                "apgd-t": Score(12, 16),
                "fab-t": Score(12, 16),
                "square": Score(12, 16),
            },
        )
        self.assertEqual((robust.accuracy, robust.n), (0.75, 16))
        np.testing.assert_array_equal(robust.withstood, np.arange(16) >= 4)
        self.assertEqual(robust.interval, Score(12, 16).interval)
        self.assertEqual(robust.evidence.only_blind, 0)
        self.assertEqual(robust.evidence.large_withstood, 0)
        self.assertEqual(robust.evidence.lost_to_more_steps, 0)

    def test_a_ball_in_which_nothing_is_broken_is_believable(self):
        robust = measure(threat=attacks.l2(0.02))
        self.assertEqual(robust.score, Score(16, 16))
        self.assertEqual((robust.evidence.largest, robust.verdict), (0, BELIEVABLE))

    def test_prints_two_lines(self):
        self.assertEqual(
            str(by_autoattack()),
            "Robust accuracy 75.0 % (95 % interval 50.5 to 89.8 %, n = 16) under "
            "AutoAttack with l2 epsilon 0.09; 100.0 % without attack.\n"
            "Believable: all checks passed.",
        )

    def test_a_network_that_rounds_is_not_believed(self):
        def rounded(params, x):
            return bright(params, jnp.round(64 * x) / 64)

        robust = measure(rounded, attacks.linf(0.06))
        # No gradient leads anywhere; random search still finds some.
        self.assertIn("gradients mislead", robust.verdict)
        self.assertIn("vanishing gradient", robust.verdict)
        line = str(robust).splitlines()[1]
        self.assertStartsWith(line, f"Not believable: {robust.verdict}. See evidence.")


class GivenAttackTest(parameterized.TestCase):
    def test_of_a_known_boundary(self):
        robust = measure(attack=pgd())
        self.assertEqual((robust.score, robust.components), (Score(12, 16), {}))
        np.testing.assert_array_equal(robust.withstood, np.arange(16) >= 4)
        self.assertEqual(
            (robust.verdict, robust.attack), (BELIEVABLE, "the given attack")
        )
        self.assertEqual(robust.evidence.lost_to_other, 0)

    def test_a_weak_one_is_noticed(self):
        robust = measure(attack=nothing)
        self.assertEqual((robust.score, robust.attack), (Score(16, 16), "nothing"))
        self.assertEqual(robust.verdict, "changes nothing, beaten by another attack")
        self.assertEqual(robust.evidence.lost_to_other, 4)

    def test_without_the_thorough_check(self):
        robust = measure(attack=functools.partial(pgd()), thorough=False)
        self.assertIsNone(robust.evidence.lost_to_other)
        self.assertIn("Not checked: ", str(robust))
        self.assertIn("another attack, ", str(robust))

    @parameterized.parameters(
        ({},),
        ({"mesh": 1, "batch_size": 3},),
        ({"mesh": 4, "batch_size": 8},),
        ({"mesh": 4, "batch_size": 6},),
        ({"key": 1},),
    )
    def test_devices_batches_and_keys_are_options(self, options):
        options = dict(options)
        if "mesh" in options:
            options["mesh"] = devices.make_mesh(options["mesh"])
        if "key" in options:
            options["key"] = jax.random.key(options["key"])
        robust = measure(attack=pgd(random_start=True), thorough=False, **options)
        self.assertEqual(robust.score, Score(12, 16))


class InputsTest(parameterized.TestCase):
    """What is accepted for a network and for arrays."""

    def measure(self, *arguments, **options):
        return measure(*arguments, attack=pgd(), thorough=False, **options)

    @parameterized.parameters(
        (jnp.asarray, jnp.asarray),
        (np.float64, np.int64),
        (np.float32, np.uint8),
        (list, list),
    )
    def test_arrays(self, images, labels):
        x, y = ladder()
        robust = self.measure(x=images(x), y=labels(y))
        self.assertEqual(robust.score, Score(12, 16))

    def test_models_and_networks(self):
        def init(key, x):
            return jnp.float32(1)

        def apply(params, x):
            logits = bright(params, x)
            return Output(logits, logits)

        model = Model(init, apply, lambda params, x: (apply(params, x), params))
        network = Network(model, jnp.float32(1))
        for given in ((model, None, 1.0), (network, None, None)):
            self.assertEqual(self.measure(*given).score, Score(12, 16))
        # Parameters that are given come before a network's own.
        self.assertEqual(self.measure(network, None, -1.0).score, Score(0, 16))

    def test_one_image(self):
        x, y = ladder()
        self.assertEqual(self.measure(x=x[8:9], y=y[8:9]).score, Score(1, 1))

    @parameterized.named_parameters(
        ("grey_levels", {"x": np.uint8(255 * ladder()[0])}, "write x / 255"),
        ("a_single_image", {"x": ladder()[0][0]}, r"write x\[None\]"),
        ("no_images", {"x": ladder()[0][:0], "y": ladder()[1][:0]}, "got none"),
        ("fewer_labels", {"y": ladder()[1][:10]}, "10 labels for 16 images"),
        ("more_classes", {"y": 2 * ladder()[1]}, r"in 0 \.\. 1 for 2 classes"),
        ("negative", {"y": -ladder()[1]}, r"in 0 \.\. 1 for 2 classes, got -1"),
        ("one_hot", {"y": np.eye(2, dtype=int)[ladder()[1]]}, "write y.argmax"),
        ("a_radius", {"threat": 0.5}, r"such as attacks.l2\(0.5\).* got float 0.5"),
        ("no_ball", {"threat": attacks.free()}, r"needs a ball such as attacks.l2"),
        ("one_logit", {"apply": lambda p, x: bright(p, x)[:, :1]}, "at least 2 cl"),
        ("a_pair", {"apply": lambda p, x: (bright(p, x), p)}, "got a tuple; .*[0]"),
        ("no_function", {"apply": 3}, "must be a function .* got int 3; .*linen"),
        ("alone", {"batch_size": 1}, "batch_size must be at least 2, got 1"),
    )
    def test_refuses(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            measure(**options)
