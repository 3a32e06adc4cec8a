"""Objectives of training against their equations, and one of a user's own."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import parameterized
from scipy import special

from nrf import attacks, losses, models, train
from nrf.config import Training
from nrf.experiments import build
from nrf.losses import LogitPairing, Madry, Objective, Trades

LINEAR = models.function(
    lambda params, x: x.reshape(len(x), -1) @ params,
    lambda key, x: jnp.array([[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]]),
)
MLP = models.MLP((0.5,), (0.25,), widths=(16,)).build(3)
NORMAL = models.Small((0.5,), (0.25,), widths=(3,)).build(3)


def clean():
    return jnp.array([[0.0, 1.0], [0.5, 0.5]]).reshape(2, 1, 2, 1)


def moved():
    return jnp.array([[0.2, 0.9], [0.5, 0.75]]).reshape(2, 1, 2, 1)


def logits(x):
    weights = np.array([[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]])
    return np.asarray(x, np.float64).reshape(2, 2) @ weights


def cross_entropy(x, y):
    return -special.log_softmax(logits(x), -1)[np.arange(2), y]


def kl(x, other):
    p = special.softmax(logits(x), -1)
    return special.rel_entr(p, special.softmax(logits(other), -1)).sum(-1)


def smoothed(model):
    """The example of the module's docstring."""

    def descend(train, params, x, x_adv, y):
        output, params = train(params, x_adv)
        labels = optax.smooth_labels(jax.nn.one_hot(y, 3), 0.1)
        loss = optax.softmax_cross_entropy(output.logits, labels)
        return loss, output, params

    return Objective(losses.cross_entropy(model.apply), descend)


class EquationsTest(parameterized.TestCase):
    y = jnp.array([1, 2])

    def descend(self, objective, model=LINEAR):
        params = model.init(jax.random.key(0), clean())
        return objective(model).descend(model.train, params, clean(), moved(), self.y)

    def test_divergence(self):
        value = losses.divergence(jnp.log(jnp.array([[0.5, 0.5]])), jnp.zeros((1, 2)))
        np.testing.assert_allclose(value, [0], atol=1e-7)
        z = jnp.log(jnp.array([[0.25, 0.75]]))
        expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
        value = losses.divergence(z, jnp.zeros((1, 2)))
        np.testing.assert_allclose(value, [expected], rtol=1e-6)

    def test_madry(self):
        values, output, _ = self.descend(Madry())
        np.testing.assert_allclose(values, cross_entropy(moved(), self.y), rtol=1e-6)
        np.testing.assert_allclose(output.logits, logits(moved()), rtol=1e-6)

    def test_smoothed_labels_share_their_weight(self):
        values, *_ = self.descend(Madry(smoothing=0.25))
        targets = optax.smooth_labels(jax.nn.one_hot(self.y, 3), 0.25)
        expected = optax.softmax_cross_entropy(logits(moved()), targets)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        # The attack climbs what it climbs without.
        climbed = Madry(smoothing=0.25)(LINEAR).climb(
            LINEAR.init(jax.random.key(0), clean()), moved(), self.y
        )
        np.testing.assert_allclose(climbed, cross_entropy(moved(), self.y), rtol=1e-6)
        # So a training does that says so.
        with mock.patch.object(train, "make_step") as make:
            build.trainer(LINEAR, Training(1, 2, 0.1, label_smoothing=0.25))
        objective = make.call_args.kwargs["objective"]
        again, *_ = self.descend(lambda model: objective)
        np.testing.assert_array_equal(again, values)

    def test_trades(self):
        values, output, _ = self.descend(Trades(beta=5.0))
        expected = cross_entropy(clean(), self.y) + 5 * kl(clean(), moved())
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        np.testing.assert_allclose(output.logits, logits(moved()), rtol=1e-6)

    def test_logit_pairing(self):
        values, output, _ = self.descend(LogitPairing(weight=0.3))
        both = cross_entropy(clean(), self.y) + cross_entropy(moved(), self.y)
        apart = ((logits(clean()) - logits(moved())) ** 2).mean(-1)
        np.testing.assert_allclose(values, both / 2 + 0.3 * apart, rtol=1e-5)
        np.testing.assert_allclose(output.logits, logits(moved()), rtol=1e-6)

    def test_trades_climbs_the_divergence_from_x(self):
        objective = Trades()(LINEAR)
        params = LINEAR.init(jax.random.key(0), clean())
        target = objective.target(params, clean(), self.y)
        values = objective.climb(params, moved(), target)
        np.testing.assert_allclose(values, kl(clean(), moved()), rtol=1e-5)
        # Why its attack needs a random start.
        self.assertTrue(Trades.needs_random_start)
        slope = jax.grad(lambda x: objective.climb(params, x, target).sum())(clean())
        np.testing.assert_allclose(slope, np.zeros_like(slope), atol=1e-7)

    @parameterized.parameters(Madry, LogitPairing)
    def test_others_climb_the_cross_entropy(self, objective):
        made = objective()(LINEAR)
        params = LINEAR.init(jax.random.key(0), clean())
        self.assertIs(made.target(params, clean(), self.y), self.y)
        values = made.climb(params, moved(), self.y)
        np.testing.assert_allclose(values, cross_entropy(moved(), self.y), rtol=1e-6)

    @parameterized.parameters(Trades, LogitPairing)
    def test_batches_are_normalised_apart_clean_ones_first(self, objective):
        params = NORMAL.init(jax.random.key(0), clean())
        first, after = NORMAL.train(params, clean())
        second, expected = NORMAL.train(after, moved())
        made = objective(0.0)(NORMAL)
        values, output, updated = made.descend(
            NORMAL.train, params, clean(), moved(), self.y
        )
        np.testing.assert_array_equal(output.logits, second.logits)
        jax.tree.map(np.testing.assert_array_equal, updated, expected)
        picked = jax.nn.log_softmax(first.logits)[jnp.arange(2), self.y]
        if objective is Trades:
            np.testing.assert_allclose(values, -picked, rtol=1e-5)

    @parameterized.parameters(-1.0, float("inf"), float("nan"))
    def test_weights(self, weight):
        with self.assertRaisesRegex(ValueError, "beta must be at least 0 and finite"):
            Trades(beta=weight)
        with self.assertRaisesRegex(ValueError, "weight must be at least 0 and"):
            LogitPairing(weight=weight)
        with self.assertRaisesRegex(ValueError, r"smoothing must be in \[0, 1\), got"):
            Madry(smoothing=weight)


class TrainingTest(parameterized.TestCase):
    def steps(self, objective, count=60, model=NORMAL, **options):
        x = jax.random.uniform(jax.random.key(4), (12, 4, 4, 1))
        y = jnp.arange(12) % 3
        made = objective(model)
        attack = attacks.pgd(
            made.climb, attacks.l2(0.3), steps=3, step_size=0.15, random_start=True
        )
        optimizer = optax.sgd(0.03, momentum=0.9)
        step = train.make_step(
            model, optimizer, attack=attack, objective=made, **options
        )
        step, history = jax.jit(step), []
        state = train.init(jax.random.key(1), model, optimizer, x)
        for _ in range(count):
            state, metrics = step(jax.random.key(2), state, x, y)
            history.append(float(metrics.loss))
        return state, history

    @parameterized.parameters(Madry(), Trades(), LogitPairing(), smoothed)
    def test_learns(self, objective):
        _, history = self.steps(objective, model=MLP)
        self.assertLess(history[-1], 0.7 * history[0])

    def test_madry_is_what_is_done_without_an_objective(self):
        x, y = clean(), jnp.array([1, 2])
        optimizer = optax.sgd(0.1)
        attack = attacks.pgd(
            losses.cross_entropy(NORMAL.apply), attacks.l2(0.1), steps=2, step_size=0.1
        )
        state = train.init(jax.random.key(1), NORMAL, optimizer, x)
        one, other = (
            train.make_step(NORMAL, optimizer, attack=attack, **options)(
                jax.random.key(0), state, x, y
            )
            for options in ({}, {"objective": Madry()(NORMAL)})
        )
        jax.tree.map(np.testing.assert_array_equal, one, other)

    def test_trades_moves_predictions_less_than_madry_does(self):
        def moves(objective):
            state, _ = self.steps(objective, count=100, model=MLP)
            made = Trades()(MLP)
            attack = attacks.pgd(
                made.climb, attacks.l2(0.3), steps=10, step_size=0.1, random_start=True
            )
            x = jax.random.uniform(jax.random.key(5), (12, 4, 4, 1))
            target = made.target(state.params, x, None)
            keys = attacks.example_keys(jax.random.key(6), jnp.arange(12))
            x_adv = attack(keys, state.params, x, target)
            return float(made.climb(state.params, x_adv, target).mean())

        self.assertLess(moves(Trades(beta=20.0)), 0.5 * moves(Madry()))

    def test_the_target_is_computed_at_the_augmented_images(self):
        seen = {}

        def objective(model):
            def target(params, x, y):
                seen["target"] = x
                return y

            def descend(train, params, x, x_adv, y):
                seen["descend"] = x
                seen["attacked"] = x_adv
                return smoothed(model).descend(train, params, x, x_adv, y)

            climb = losses.cross_entropy(model.apply)
            return Objective(climb, descend, target)

        with jax.disable_jit():
            self.steps(objective, count=1, augment=lambda key, x: x / 2)
        np.testing.assert_array_equal(seen["target"], seen["descend"])
        self.assertLessEqual(float(seen["target"].max()), 0.5)
        self.assertGreater(float(jnp.abs(seen["attacked"] - seen["descend"]).max()), 0)

    def test_a_mean_is_not_one_loss_per_example(self):
        def objective(model):
            def descend(*arguments):
                values, output, params = smoothed(model).descend(*arguments)
                return values.mean(), output, params

            return smoothed(model)._replace(descend=descend)

        with self.assertRaisesRegex(ValueError, r"per example, \[12\], got shape \(\)"):
            self.steps(objective)

    def test_networks_may_return_plain_logits(self):
        def train_plain(params, x):
            output, params = NORMAL.train(params, x)
            return output.logits, params

        plain = NORMAL._replace(
            apply=lambda params, x: NORMAL.apply(params, x).logits, train=train_plain
        )
        for objective in (Madry(), Trades(), LogitPairing()):
            one, _ = self.steps(objective, count=2)
            other, _ = self.steps(objective, count=2, model=plain)
            jax.tree.map(np.testing.assert_array_equal, one, other)
