"""Accuracies and intervals against numbers known beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
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


class ScoreTest(parameterized.TestCase):
    def test_wilson_interval(self):
        # Wilson's formula worked out by hand for 8 of 10 at z = 1.96.
        low, high = Score(8, 10).interval
        self.assertAlmostEqual(low, 0.4902, places=4)
        self.assertAlmostEqual(high, 0.9433, places=4)
        self.assertEqual(Score(8, 10).accuracy, 0.8)

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
        score = evaluate.score(
            KEY,
            evaluate.make_correct(apply, self.attack_at),
            jnp.float32(1),
            ladder(),
            epsilon=epsilon,
            batch_size=batch,
            mesh=devices.make_mesh(mesh),
        )
        self.assertEqual(score, Score(right, 10))

    def test_an_example_that_an_attack_would_mend_is_still_wrong(self):
        # The attack climbs a loss that makes wrong answers right.
        def mend(epsilon):
            loss = losses.negate(losses.cross_entropy(apply))
            return attacks.pgd(loss, attacks.l2(epsilon), steps=5, step_size=0.2)

        wrong = ladder()._replace(labels=np.zeros(10, np.int32))
        score = evaluate.score(
            KEY,
            evaluate.make_correct(apply, mend),
            jnp.float32(1),
            wrong,
            epsilon=0.9,
            batch_size=5,
            mesh=devices.make_mesh(1),
        )
        self.assertEqual(score.correct, 0)

    def test_tick_hears_of_every_example_once(self):
        heard = []
        evaluate.score(
            KEY,
            evaluate.make_correct(apply),
            jnp.float32(1),
            ladder(),
            batch_size=4,
            mesh=devices.make_mesh(1),
            tick=heard.append,
        )
        self.assertEqual(heard, [4, 4, 2])

    def test_refuses_labels_that_the_data_has_no_names_for(self):
        data = ladder()._replace(labels=np.full(10, 2, np.int32))
        with self.assertRaisesRegex(ValueError, "labels must be in 0 .. 1"):
            evaluate.score(
                KEY,
                evaluate.make_correct(apply),
                jnp.float32(1),
                data,
                batch_size=5,
                mesh=devices.make_mesh(1),
            )

    def test_more_devices_than_there_are(self):
        with self.assertRaisesRegex(ValueError, r"must be in 1 \.\. 4 here, got 5"):
            devices.make_mesh(5)
