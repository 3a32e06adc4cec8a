"""What attacks are given, and the words in which they refuse it."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import attacks, losses

WEIGHTS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
BALL = attacks.l2(0.5)


def network(params, x):
    """Plain logits."""
    return x.reshape(len(x), -1) @ params


LOSS = losses.margin(network)
TARGETED = losses.targeted_margin(network)
PGD = attacks.pgd(LOSS, BALL, steps=3, step_size=0.1, random_start=True)
ATTACKS = {
    "pgd": PGD,
    "apgd": attacks.apgd(LOSS, BALL, steps=3, random_start=True),
    "square": attacks.square(LOSS, BALL, queries=5),
    "worst_case": attacks.worst_case([PGD], LOSS),
    "targeted": attacks.targeted(
        network, attacks.apgd(TARGETED, BALL, steps=3, random_start=True), targets=2
    ),
    "eot": attacks.eot(
        lambda keys, params, x, y: (
            LOSS(params, x, y) + 0 * jax.vmap(lambda key: jax.random.normal(key))(keys)
        ),
        lambda loss: attacks.pgd(loss, BALL, steps=3, step_size=0.1, random_start=True),
        samples=2,
    ),
    **{
        f"autoattack_{component.name}": component.attack_at(0.5, 0)
        for component in attacks.autoattack(network, attacks.l2, 3, steps=3, queries=5)
    },
}
# FAB draws nothing.
DRAWING = [name for name in ATTACKS if name != "autoattack_fab-t"]


def images(count=6):
    return jax.random.uniform(jax.random.key(1), (count, 2, 2, 3))


def labels(count=6):
    return jnp.argmax(network(WEIGHTS, images(count)), -1)


class KeysTest(parameterized.TestCase):
    @parameterized.parameters(*ATTACKS)
    def test_one_key_is_folded_by_places_in_the_batch(self, name):
        attack, key = ATTACKS[name], jax.random.key(3)
        one = attack(key, WEIGHTS, images(), labels())
        keys = attacks.example_keys(key, jnp.arange(6))
        many = attack(keys, WEIGHTS, images(), labels())
        np.testing.assert_array_equal(one, many)

    def test_examples_draw_different_numbers(self):
        x = jnp.broadcast_to(images(1), (6, 2, 2, 3))
        x_adv = PGD(jax.random.key(3), WEIGHTS, x, labels(1).repeat(6))
        self.assertEqual(len(np.unique(x_adv, axis=0)), 6)

    @parameterized.parameters(*DRAWING)
    def test_wrong_counts(self, name):
        keys = attacks.example_keys(jax.random.key(3), jnp.arange(5))
        message = r"one for each of the 6 images, got shape \(5,\); .*example_keys"
        for attack in (ATTACKS[name], jax.jit(ATTACKS[name])):
            with self.assertRaisesRegex(ValueError, message):
                attack(keys, WEIGHTS, images(), labels())

    @parameterized.parameters(*DRAWING)
    def test_keys_must_be_typed(self, name):
        message = r"keys must be typed, got uint32 \(2,\); write jax.random.key"
        with self.assertRaisesRegex(ValueError, message):
            ATTACKS[name](jax.random.PRNGKey(3), WEIGHTS, images(), labels())


class BatchTest(parameterized.TestCase):
    @parameterized.parameters(*ATTACKS)
    def test_as_many_labels_as_images(self, name):
        message = r"one row for each of the 6 images, got shape \(5,\)"
        for attack in (ATTACKS[name], jax.jit(ATTACKS[name])):
            with self.assertRaisesRegex(ValueError, message):
                attack(jax.random.key(3), WEIGHTS, images(), labels(5))
        with self.assertRaisesRegex(ValueError, r"got shape \(\)"):
            ATTACKS[name](jax.random.key(3), WEIGHTS, images(), jnp.int32(1))

    @parameterized.product(name=list(ATTACKS), bad=(-1, 3))
    def test_labels_are_classes(self, name, bad):
        y = labels().at[2].set(bad)
        with self.assertRaisesRegex(ValueError, "labels must be in 0 .. 2 for 3"):
            ATTACKS[name](jax.random.key(3), WEIGHTS, images(), y)

    def test_targets_are_classes(self):
        attack = attacks.pgd(TARGETED, BALL, steps=1, step_size=0.1)
        pair = labels().at[0].set(3), labels()
        with self.assertRaisesRegex(ValueError, "labels must be in 0 .. 2"):
            attack(jax.random.key(3), WEIGHTS, images(), pair)
        with self.assertRaisesRegex(ValueError, r"6 images, got shape \(2,\)"):
            attack(jax.random.key(3), WEIGHTS, images(), (labels(2), labels()))

    def test_smallest_perturbations_of_a_batch(self):
        find = attacks.smallest(LOSS, BALL, steps=2)
        with self.assertRaisesRegex(ValueError, r"6 images, got shape \(5,\)"):
            find(WEIGHTS, images(), labels(5))

    def test_losses_see_labels_of_other_counts(self):
        for loss in (losses.cross_entropy, losses.margin, losses.dlr):
            with self.assertRaisesRegex(ValueError, r"5 labels for .* \(6, 3\)"):
                loss(network)(WEIGHTS, images(), labels(5))

    def test_one_logit_is_no_decision(self):
        loss = losses.cross_entropy(lambda params, x: network(params, x)[:, :1])
        with self.assertRaisesRegex(ValueError, "at least two logits, got one"):
            loss(WEIGHTS, images(), jnp.zeros(6, jnp.int32))

    @parameterized.parameters("feature_distance", "cosine_distance")
    def test_features_are_not_labels(self, name):
        loss = getattr(losses, name)(network)
        with self.assertRaisesRegex(
            ValueError, r"\(6, 3\), .* \(6,\); are they labels"
        ):
            loss(WEIGHTS, images(), labels())


class OptionsTest(parameterized.TestCase):
    @parameterized.parameters(2.5, True, "3", np.float32(3))
    def test_counts_are_whole_numbers(self, value):
        makers = {
            "steps": [
                lambda n: attacks.pgd(LOSS, BALL, steps=n, step_size=0.1),
                lambda n: attacks.apgd(LOSS, BALL, steps=n),
                lambda n: attacks.fab(LOSS, BALL, steps=n),
                lambda n: attacks.autoattack(network, attacks.l2, 3, steps=n),
            ],
            "restarts": [
                lambda n: attacks.apgd(
                    LOSS, BALL, steps=3, random_start=True, restarts=n
                )
            ],
            "halvings": [lambda n: attacks.fab(LOSS, BALL, steps=3, halvings=n)],
            "queries": [lambda n: attacks.square(LOSS, BALL, queries=n)],
            "schedule": [lambda n: attacks.square(LOSS, BALL, queries=1, schedule=n)],
            "samples": [lambda n: attacks.eot(LOSS, lambda loss: PGD, samples=n)],
            "targets": [
                lambda n: attacks.targeted(network, PGD, targets=n),
                lambda n: attacks.autoattack(network, attacks.l2, 3, targets=n),
            ],
            "num_classes": [lambda n: attacks.autoattack(network, attacks.l2, n)],
        }
        for name, all_of_name in makers.items():
            for make in all_of_name:
                with self.assertRaisesRegex(ValueError, f"{name} must be a whole"):
                    make(value)

    def test_counts_of_numpy_are_whole_numbers(self):
        attacks.pgd(LOSS, BALL, steps=np.int64(3), step_size=0.1)

    @parameterized.parameters(float("inf"), float("nan"), -0.1)
    def test_step_sizes_are_finite(self, value):
        with self.assertRaisesRegex(ValueError, f"positive and finite, got {value}"):
            attacks.pgd(LOSS, BALL, steps=1, step_size=value)

    @parameterized.parameters("pgd", "apgd", "fab", "square")
    def test_a_mean_is_not_one_value_per_image(self, name):
        def mean(params, x, y):
            return LOSS(params, x, y).mean()

        options = {
            "pgd": dict(steps=1, step_size=0.1),
            "square": dict(queries=1),
        }.get(name, dict(steps=1))
        attack = getattr(attacks, name)(mean, BALL, **options)
        message = r"one value for each of the 6 images, got shape \(\)"
        with self.assertRaisesRegex(ValueError, message):
            attack(jax.random.key(3), WEIGHTS, images(), labels())

    @parameterized.parameters(0, 1)
    def test_neither_of_two_values_is_a_mean(self, which):
        def two(params, x, y):
            values = [LOSS(params, x, y)] * 2
            values[which] = values[which].mean()
            return tuple(values)

        attack = attacks.apgd(two, BALL, steps=1)
        with self.assertRaisesRegex(ValueError, r"one value for .* got shape \(\)"):
            attack(jax.random.key(3), WEIGHTS, images(), labels())

    def test_pgd_chooses_by_success_and_then_by_the_loss(self):
        def first_pixel(apply):
            return lambda params, x, y: x[:, 0, 0, 0]

        def other_pixel(apply):
            return lambda params, x, y: 0.55 - x[:, 0, 0, 0]

        x = jnp.full((6, 2, 2, 3), 0.5)
        for judge, expected in ((first_pixel, 0.7), (other_pixel, 0.5)):
            attack = attacks.pgd(
                losses.judged(network, first_pixel, judge),
                attacks.linf(0.2),
                steps=2,
                step_size=0.1,
                keep_best=True,
            )
            x_adv = attack(jax.random.key(3), WEIGHTS, x, labels())
            np.testing.assert_allclose(x_adv[:, 0, 0, 0], np.full(6, expected))
