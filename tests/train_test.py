"""Training: one step against its equations, epochs against their promises."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import parameterized

from nrf import attacks, data, devices, losses, models, runs, train
from nrf.config import Training
from nrf.data import Dataset
from nrf.experiments import averages, build, networks


def toy(count=64, seed=0):
    """Bright against dark images: learned in a few steps."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 2
    images = 0.3 + 0.4 * labels[:, None, None, None]
    images = images + 0.2 * generator.uniform(-1, 1, (count, 4, 4, 1))
    return Dataset(images.astype(np.float32), labels, ("dark", "bright"))


MODEL = models.MLP((0.5,), (0.25,), widths=(6,)).build(2)
OPTIMIZER = optax.sgd(0.1, momentum=0.9, nesterov=True)


def mean_loss(weights, rows):
    images, labels = jnp.asarray(toy().images)[rows], toy().labels[rows]
    return losses.cross_entropy(MODEL.apply)({"params": weights}, images, labels).mean()


def train_for(
    count,
    *,
    key=0,
    mesh=1,
    model=MODEL,
    dataset=None,
    batch_size=16,
    resident=2**31,
    updates=None,
    schedule=None,
    optimizer=OPTIMIZER,
    **kw,
):
    dataset = dataset or toy()
    state = train.init(jax.random.key(1), model, optimizer, dataset.images[:1])
    return list(
        train.epochs(
            jax.random.key(key),
            state,
            train.make_update(train.make_step(model, optimizer, **kw)),
            dataset,
            count=count,
            batch_size=batch_size,
            mesh=devices.make_mesh(mesh),
            resident=resident,
            updates=updates,
            schedule=schedule,
        )
    )


class StepTest(parameterized.TestCase):
    def test_is_gradient_descent_on_the_mean_loss(self):
        data = toy(8)
        optimizer = optax.sgd(0.3)
        state = train.init(jax.random.key(1), MODEL, optimizer, data.images)
        step = jax.jit(train.make_step(MODEL, optimizer))
        after, metrics = step(jax.random.key(0), state, data.images, data.labels)

        def mean_loss(weights):
            params = {**state.params, "params": weights}
            return losses.cross_entropy(MODEL.apply)(
                params, data.images, data.labels
            ).mean()

        value, gradient = jax.value_and_grad(mean_loss)(state.params["params"])
        np.testing.assert_allclose(metrics.loss, value, rtol=1e-6)
        expected = jax.tree.map(
            lambda w, g: w - 0.3 * g, state.params["params"], gradient
        )
        for a, b in zip(
            jax.tree.leaves(after.params["params"]),
            jax.tree.leaves(expected),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-6)
        self.assertEqual(int(after.step), 1)

    def test_adversarial_step_trains_on_attacked_images(self):
        data = toy(8)
        optimizer = optax.sgd(0.3)
        loss = losses.cross_entropy(MODEL.apply)
        attack = attacks.pgd(loss, attacks.linf(0.2), steps=3, step_size=0.1)
        state = train.init(jax.random.key(1), MODEL, optimizer, data.images)
        keys = attacks.example_keys(jax.random.key(5), jnp.arange(8))
        x_adv = attack(keys, state.params, jnp.asarray(data.images), data.labels)
        step = train.make_step(MODEL, optimizer, attack=attack)
        after, metrics = step(
            jax.random.key(0), state, jnp.asarray(data.images), data.labels
        )
        plain = train.make_step(MODEL, optimizer)
        expected, _ = plain(jax.random.key(0), state, x_adv, data.labels)
        np.testing.assert_allclose(
            metrics.loss, loss(state.params, x_adv, data.labels).mean(), rtol=1e-6
        )
        for a, b in zip(
            jax.tree.leaves(after.params), jax.tree.leaves(expected.params), strict=True
        ):
            np.testing.assert_allclose(a, b, atol=1e-6)

    def test_weight_decay_leaves_statistics_alone(self):
        model = models.Small((0.5,), (0.25,), widths=(3,)).build(2)
        optimizer = optax.chain(optax.add_decayed_weights(1.0), optax.sgd(0.1))
        state = train.init(jax.random.key(1), model, optimizer, toy().images[:1])
        step = train.make_step(model, optimizer)
        x, y = jnp.asarray(toy().images), toy().labels
        after, _ = step(jax.random.key(0), state, x, y)
        _, expected = model.train(state.params, x)
        for a, b in zip(
            jax.tree.leaves(after.params["batch_stats"]),
            jax.tree.leaves(expected["batch_stats"]),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_random_augmentation_differs_by_step(self):
        seen = []

        def augment(key, x):
            seen.append(jax.random.key_data(key))
            return x

        step = train.make_step(MODEL, optax.sgd(0.1), augment=augment)
        state = train.init(jax.random.key(1), MODEL, optax.sgd(0.1), toy().images[:1])
        for _ in range(2):
            state, _ = step(
                jax.random.key(0), state, jnp.asarray(toy().images), toy().labels
            )
        self.assertFalse(bool((seen[0] == seen[1]).all()))


class AverageTest(parameterized.TestCase):
    def test_is_that_of_a_loop_over_all_weights(self):
        x, y = jnp.asarray(toy(8).images), toy(8).labels
        plain, decay = optax.sgd(0.3, momentum=0.9), 0.8
        chain = optax.chain(plain, averages.averaging(decay))
        step = jax.jit(train.make_step(MODEL, chain))
        state = train.init(jax.random.key(1), MODEL, chain, x)
        seen, weights = [], []
        for _ in range(5):
            state, _ = step(jax.random.key(0), state, x, y)
            seen.append(jax.tree.leaves(state.params["params"]))
            weights = [decay * weight for weight in weights] + [1.0]
            found = jax.tree.leaves(averages.averaged(state)["params"])
            for values, mean in zip(zip(*seen, strict=True), found, strict=True):
                expected = np.average(values, axis=0, weights=weights)
                np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)
        # Training itself is as without.
        state = train.init(jax.random.key(1), MODEL, plain, x)
        step = jax.jit(train.make_step(MODEL, plain))
        for _ in range(5):
            state, _ = step(jax.random.key(0), state, x, y)
        for a, b in zip(seen[-1], jax.tree.leaves(state.params), strict=True):
            np.testing.assert_array_equal(a, b)
        self.assertIs(averages.averaged(state), state.params)

    def test_is_what_trainings_give(self):
        """Epochs of one update: shorter trainings have the weights in between."""
        images = np.random.default_rng(0).random((64, 2, 2, 1), np.float32)
        dataset = toy()._replace(images=images)  # There is nothing to learn.
        training = Training(3, 64, 10.0, schedule="steps", drops=(), weight_decay=0.0)

        def trained(**changes):
            key, env = jax.random.key(2), runs.local()
            return networks.fit(
                key,
                dataset,
                dataset,
                network=models.Linear((0.5,), (0.25,)),
                training=replace(training, **changes),
                env=env,
            )

        seen = [jax.tree.leaves(trained(epochs=count).params) for count in (1, 2, 3)]
        found = trained(averaging=0.5)
        for values, mean in zip(
            zip(*seen, strict=True), jax.tree.leaves(found.params), strict=True
        ):
            expected = np.average(values, axis=0, weights=[1, 2, 4])
            np.testing.assert_allclose(mean, expected, rtol=1e-4)
        # It is what was tested, too.
        last = found.params["params"]["Dense_0"]
        z = (images.reshape(64, 4) - 0.5) / 0.25 @ last["kernel"] + last["bias"][None]
        accuracy = np.mean(z.argmax(1) == dataset.labels)
        self.assertEqual(found.history[-1]["test_accuracy"], accuracy)
        self.assertNotEqual(trained().history[-1]["test_accuracy"], accuracy)


class EpochsTest(parameterized.TestCase):
    def test_learns(self):
        history = train_for(5)
        self.assertLen(history, 5)
        self.assertLess(history[-1][1].loss, history[0][1].loss / 2)
        self.assertEqual(history[-1][1].accuracy, 1)
        self.assertEqual(int(history[-1][0].step), 5 * 4)

    def test_same_key_same_network_other_key_another(self):
        weights = [
            jax.tree.leaves(train_for(2, key=key)[-1][0].params)[0] for key in (0, 0, 1)
        ]
        np.testing.assert_array_equal(weights[0], weights[1])
        self.assertGreater(float(np.abs(weights[0] - weights[2]).max()), 1e-4)

    def test_a_set_that_does_not_fit_teaches_the_same_bit_for_bit(self):
        """Of 8 bits or of floats, in memory or not, on the devices or streamed."""
        bits = np.round(255 * toy().images).astype(np.uint8)
        loss = losses.cross_entropy(MODEL.apply)
        attack = attacks.pgd(loss, attacks.linf(0.2), steps=2, step_size=0.1)
        trained = [
            train_for(
                2,
                mesh=4,
                dataset=toy()._replace(images=images),
                resident=resident,
                attack=attack,
            )
            for images, resident in (
                (bits / np.float32(255), 2**31),
                (data.Pixels(bits), 2**31),
                (data.Pixels(bits), 0),
            )
        ]
        for one in trained[1:]:
            jax.tree.map(np.testing.assert_array_equal, one, trained[0])

    @parameterized.parameters((3, 2**31), (4, 0), (50, 2**31))
    def test_many_updates_in_one_call_are_the_same(self, updates, resident):
        """Also where a call has more than are left of an epoch of four."""
        loss = losses.cross_entropy(MODEL.apply)
        attack = attacks.pgd(
            loss, attacks.linf(0.2), steps=2, step_size=0.1, random_start=True
        )
        options = dict(mesh=4, attack=attack, resident=resident)
        one = train_for(2, **options)
        for a, b in zip(one, train_for(2, updates=updates, **options), strict=True):
            self.assertEqual(int(b[0].step), int(a[0].step))
            jax.tree.map(
                functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
                a,
                b,
            )

    @parameterized.parameters(1, 3)
    def test_optimizers_are_given_their_row_of_the_schedule(self, updates):
        training = Training(2, 16, 0.1, weight_decay=0.1, momentum=0, warmup=0.5)
        schedule = build.schedule(training, 8)
        optimizer = build.optimizer(training)
        trained, _ = train_for(
            2, optimizer=optimizer, schedule=schedule, updates=updates
        )[-1]
        state = train.init(jax.random.key(1), MODEL, optimizer, toy().images[:1])
        weights = state.params["params"]
        key = jax.random.split(jax.random.key(0))[0]
        seed = int.from_bytes(np.asarray(jax.random.key_data(key)).tobytes(), "big")
        number = 0
        for epoch in range(2):
            for rows in data.batch_indices(seed, epoch, 64, 16):
                gradient = jax.grad(mean_loss)(weights, rows)
                rate = build.learning_rate(training, 8)(number)
                weights = jax.tree.map(
                    lambda w, g, rate=rate: w - rate * (g + 0.1 * w), weights, gradient
                )
                number += 1
        for a, b in zip(
            jax.tree.leaves(trained.params), jax.tree.leaves(weights), strict=True
        ):
            np.testing.assert_allclose(a, b, atol=1e-6)

    def test_holding_out_copies_no_image(self):
        bits = np.arange(64 * 16).astype(np.uint8).reshape(64, 4, 4, 1)
        whole = toy()._replace(images=data.Pixels(bits))
        parts = train.hold_out(jax.random.key(0), whole, 0.25)
        self.assertEqual([len(part.labels) for part in parts], [48, 16])
        for part in parts:
            self.assertIs(part.images.base.images, bits)
        images = np.concatenate([part.images for part in parts])
        order = np.asarray(jax.random.permutation(jax.random.key(0), 64))
        np.testing.assert_array_equal(images, whole.images[order])

    @parameterized.parameters((16, 4), (6, 3))
    def test_one_device_and_four_agree(self, batch_size, share):
        model = models.Small((0.5,), (0.25,), widths=(3, 4)).build(2)
        attack = attacks.pgd(
            losses.cross_entropy(model.apply),
            attacks.l2(0.2),
            steps=2,
            step_size=0.1,
            random_start=True,
        )
        one, four = (
            train_for(2, mesh=n, model=model, attack=attack, batch_size=batch_size)
            for n in (1, 4)
        )
        # Those that do not divide a batch are left over.
        self.assertLen(four[-1][0].step.sharding.device_set, share)
        for a, b in zip(
            jax.tree.leaves(one[-1][0].params),
            jax.tree.leaves(four[-1][0].params),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-4)
        np.testing.assert_allclose(one[-1][1].loss, four[-1][1].loss, rtol=1e-4)

    def test_a_loss_that_is_not_finite_stops_the_training(self):
        def explode(key, x):
            return x * jnp.float32(np.inf)

        with (
            jax.debug_nans(False),
            self.assertRaisesRegex(
                FloatingPointError, r"loss is nan at step 1 \(last finite loss: nan\)"
            ),
        ):
            train_for(1, augment=explode)

    @parameterized.named_parameters(
        ("labels", dict(dataset=toy()._replace(names=("one",))), "labels must be in"),
        (
            "bytes",
            dict(dataset=toy()._replace(images=np.zeros((64, 4, 4, 1), np.uint8))),
            "got uint8",
        ),
        ("batch", dict(batch_size=65), "whole number in 1 .. 64, .* got 65"),
        (
            "schedule",
            dict(schedule={"rate": np.ones(5)}),
            r"schedule's rate .* the 4 updates, got shape \(5,\)",
        ),
        ("none", dict(batch_size=0, mesh=4), "whole number in 1 .. 64, .* got 0"),
    )
    def test_refuses(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            train_for(1, **options)
