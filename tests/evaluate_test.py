"""Accuracies and intervals against numbers known beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from absl.testing import parameterized

from nrf import attacks, devices, evaluate, losses
from nrf.data import Dataset
from nrf.evaluate import Score
from nrf.models import Output

KEY = jax.random.key(0)


def apply(params, x):
    """Class 1 if the image is brighter than grey; the boundary is x.sum() = 2."""
    brightness = (x.sum((1, 2, 3)) - 2) * params
    return Output(jnp.stack([-brightness, brightness], 1), brightness[:, None])


def ladder(count=10):
    """Images of 4 equal pixels at l2 distances 0.05, 0.15, ... from the boundary."""
    distance = (np.arange(count) + 0.5) / count
    pixels = np.clip(0.5 + distance / 2, 0, 1).astype(np.float32)
    images = np.broadcast_to(pixels[:, None, None, None], (count, 2, 2, 1))
    return Dataset(images.copy(), np.ones(count, np.int32), ("dark", "bright"))


def score(correct, data=None, **options):
    given = {"batch_size": 5, "mesh": devices.make_mesh(1)} | options
    return evaluate.score(KEY, correct, jnp.float32(1), data or ladder(), **given)


class ScoreTest(parameterized.TestCase):
    def test_wilson_interval(self):
        # Wilson's formula worked out by hand for 8 of 10 at z = 1.96.
        low, high = Score(8, 10).interval
        self.assertAlmostEqual(low, 0.4902, places=4)
        self.assertAlmostEqual(high, 0.9433, places=4)
        self.assertEqual(Score(8, 10).accuracy, 0.8)

    def test_wilson_interval_is_that_of_scipy(self):
        for correct, total in ((0, 1), (1, 1), (3, 7), (499, 500), (17, 10_000)):
            theirs = scipy.stats.binomtest(correct, total).proportion_ci(0.95, "wilson")
            np.testing.assert_allclose(Score(correct, total).interval, theirs)

    def test_interval_stays_within_0_and_1(self):
        self.assertEqual(Score(0, 20).interval[0], 0)
        self.assertEqual(Score(20, 20).interval[1], 1)
        self.assertGreater(Score(0, 20).interval[1], 0.1)

    def attack_at(self, epsilon):
        loss = losses.cross_entropy(apply)
        return attacks.pgd(
            loss, attacks.l2(epsilon), steps=10, step_size=epsilon * 0.25
        )

    @parameterized.parameters(
        (0.1, 9, 3, 1), (0.2, 8, 10, 1), (0.5, 5, 4, 1), (0.5, 5, 4, 4)
    )
    def test_robust_accuracy_of_a_known_boundary(self, epsilon, right, batch, mesh):
        found = score(
            evaluate.make_correct(apply, self.attack_at),
            epsilon=epsilon,
            batch_size=batch,
            mesh=devices.make_mesh(mesh),
        )
        self.assertEqual(found, Score(right, 10))

    def test_an_example_that_an_attack_would_mend_is_still_wrong(self):
        # The attack climbs a loss that makes wrong answers right.
        def mend(epsilon):
            loss = losses.negate(losses.cross_entropy(apply))
            return attacks.pgd(loss, attacks.l2(epsilon), steps=5, step_size=0.2)

        wrong = ladder()._replace(labels=np.zeros(10, np.int32))
        found = score(evaluate.make_correct(apply, mend), wrong, epsilon=0.9)
        self.assertEqual(found.correct, 0)

    @parameterized.parameters(
        (attacks.l2, float("nan"), "l2 epsilon must be positive and finite, got nan"),
        (attacks.l2, -0.1, "l2 epsilon must be positive and finite, got -0.1"),
        (attacks.l2, 0.0, "l2 epsilon must be positive and finite, got 0"),
        (attacks.linf, 8, "got 8; for k grey levels out of 255 write k / 255"),
    )
    def test_refuses_the_radii_that_attacks_refuse(self, threat_at, epsilon, message):
        def attack_at(epsilon):
            loss = losses.cross_entropy(apply)
            return attacks.pgd(loss, threat_at(epsilon), steps=1, step_size=0.1)

        with self.assertRaisesRegex(ValueError, message):
            score(evaluate.make_correct(apply, attack_at), epsilon=epsilon)

    def test_plain_logits_are_enough(self):
        def plain(params, x):
            return apply(params, x).logits

        self.assertEqual(score(evaluate.make_correct(plain)), Score(10, 10))
        predict = evaluate.make_predict(plain)
        classes = evaluate.predictions(
            predict, jnp.float32(-1), ladder().images, batch_size=4
        )
        np.testing.assert_array_equal(classes, np.zeros(10))

    @parameterized.parameters(0, 1)
    def test_an_answer_of_nan_is_wrong_whatever_the_label(self, label):
        def broken(params, x):
            logits = apply(params, x).logits
            return jnp.where(x[:, 0, 0] > 0.8, jnp.nan, logits)

        data = ladder()._replace(labels=np.full(10, label, np.int32))
        # Pixels are 0.525, 0.575, .. 0.975: the last four are not answered.
        known = {0: 0, 1: 6}[label]
        with jax.debug_nans(False):
            self.assertEqual(
                score(evaluate.make_correct(broken), data), Score(known, 10)
            )
            answers = evaluate.predictions(
                evaluate.make_predict(broken),
                jnp.float32(1),
                data.images,
                batch_size=10,
                mesh=devices.make_mesh(1),
            )
            programs = evaluate.sequence.make_programs(broken, [])
            result = evaluate.sequence.run(
                KEY, programs, jnp.float32(1), data, epsilon=0.1, batch_size=8
            )
        np.testing.assert_array_equal(answers, [1] * 6 + [-1] * 4)
        np.testing.assert_array_equal(result.broken_by < 0, answers == label)

    @parameterized.parameters(
        (lambda z: z[:, :1], r"at least 2 classes .* got shape \(5, 1\)"),
        (lambda z: z[:1], r"for its 5 images, got shape \(1, 2\)"),
    )
    def test_refuses_logits_that_make_any_label_right(self, change, message):
        def broken(params, x):
            output = apply(params, x)
            return output._replace(logits=change(output.logits))

        with self.assertRaisesRegex(ValueError, message):
            score(evaluate.make_correct(broken))

    def test_tick_is_called_with_every_example_once(self):
        heard = []
        score(evaluate.make_correct(apply), batch_size=4, tick=heard.append)
        self.assertEqual(heard, [4, 4, 2])

    @parameterized.parameters(
        (np.full(10, 2), r"labels must be in 0 \.\. 1"),
        (np.full(10, -1), r"labels must be in 0 \.\. 1"),
        (np.ones(9), "9 labels for 10 images"),
        (np.ones(40), "40 labels for 10 images"),
    )
    def test_refuses_labels(self, labels, message):
        data = ladder()._replace(labels=labels.astype(np.int32))
        with self.assertRaisesRegex(ValueError, message):
            score(evaluate.make_correct(apply), data)

    def test_refuses_an_empty_set(self):
        with self.assertRaisesRegex(ValueError, "needs images, got none"):
            score(evaluate.make_correct(apply), ladder(0))

    def test_more_devices_than_there_are(self):
        with self.assertRaisesRegex(ValueError, r"must be in 1 \.\. 4 here, got 5"):
            devices.make_mesh(5)
