"""Networks written elsewhere: the same numbers as a `Model`, and words where not."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import parameterized
from flax import linen, nnx

from nrf import attacks, losses, models, train


class Normal(linen.Module):
    """Two layers with BatchNorm between them; returns plain logits."""

    @linen.compact
    def __call__(self, x, train):
        x = linen.Dense(6)(x.reshape(len(x), -1))
        x = linen.relu(linen.BatchNorm(not train, name="norm")(x))
        return linen.Dense(3, name="head")(x)


class Plain(linen.Module):
    """No BatchNorm, no argument for training."""

    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(Inner(name="body")(x.reshape(len(x), -1)))


class Shared(linen.Module):
    """One layer, called twice."""

    @linen.compact
    def __call__(self, x):
        layer = linen.Dense(12, name="shared")
        return linen.Dense(3)(layer(layer(x.reshape(len(x), -1))))


class Inner(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.relu(linen.Dense(4)(linen.Dense(4)(x)))


class Deterministic(linen.Module):
    """As Flax's own examples: the argument means the opposite."""

    rate: float = 0.0

    @linen.compact
    def __call__(self, x, deterministic):
        x = linen.BatchNorm(use_running_average=deterministic)(x.reshape(len(x), -1))
        return linen.Dense(3)(linen.Dropout(self.rate)(x, deterministic=deterministic))


class Network(nnx.Module):
    """With a list of layers, BatchNorm and dropout."""

    def __init__(self, rngs, rate=0.5):
        self.layers = nnx.List([nnx.Linear(12, 6, rngs=rngs)])
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = self.dropout(nnx.relu(self.norm(layer(x.reshape(len(x), -1)))))
        return models.Output(self.head(x), x)


def images(count=5):
    return jax.random.uniform(jax.random.key(0), (count, 2, 2, 3))


def labels(count=5):
    return np.arange(count, dtype=np.int32) % 3


def equal(a: Any, b: Any) -> bool:
    return jax.tree.all(jax.tree.map(lambda p, q: bool((p == q).all()), a, b))


def check_learns(model):
    """Adversarial training lowers the loss, and its parameters can be saved."""
    attack = attacks.pgd(
        losses.cross_entropy(model.apply), attacks.l2(0.1), steps=2, step_size=0.1
    )
    optimizer = optax.sgd(0.3)
    step = jax.jit(train.make_step(model, optimizer, attack=attack))
    state = train.init(jax.random.key(1), model, optimizer, images())
    values = []
    for _ in range(30):
        state, metrics = step(jax.random.key(2), state, images(), labels())
        values.append(float(metrics.loss))
    assert values[-1] < values[0] / 2, values
    for leaf in jax.tree.leaves(state.params):
        assert not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return state


class LinenTest(parameterized.TestCase):
    def test_is_the_module(self):
        module, x = Normal(), images()
        model = models.linen(module)
        params = model.init(jax.random.key(1), x)
        expected = module.init(jax.random.key(1), x, train=False)
        self.assertTrue(equal(params, expected))
        logits = module.apply(expected, x, train=False)
        np.testing.assert_array_equal(model.apply(params, x).logits, logits)
        # Nothing else is known of the network.
        np.testing.assert_array_equal(model.apply(params, x).features, logits)
        made, updated = model.train(params, x)
        logits, state = module.apply(expected, x, train=True, mutable=["batch_stats"])
        np.testing.assert_array_equal(made.logits, logits)
        self.assertTrue(equal(updated, {**expected, **state}))
        self.assertFalse(equal(updated, expected))

    @parameterized.parameters(Normal, Plain)
    def test_learns(self, module):
        check_learns(models.linen(module()))

    def test_features_of_a_layer(self):
        x = images()
        model = models.linen(Normal(), layer="norm")
        params = model.init(jax.random.key(1), x)
        self.assertNotIn("intermediates", params)
        output = model.apply(params, x)
        head = params["params"]["head"]
        hidden = jax.nn.relu(output.features)
        expected = hidden @ head["kernel"] + head["bias"][None]
        np.testing.assert_allclose(output.logits, expected, rtol=1e-5)
        made, updated = model.train(params, x)
        self.assertEqual(set(updated), {"params", "batch_stats"})
        # By the statistics of the batch, of mean 0 before the bias.
        np.testing.assert_allclose(made.features.mean(0), np.zeros(6), atol=1e-5)

    @parameterized.parameters("body", "body/Dense_0")
    def test_layers_within_layers(self, layer):
        x = images()
        model = models.linen(Plain(), layer=layer)
        params = model.init(jax.random.key(1), x)
        head = params["params"]["Dense_0"]
        output = model.apply(params, x)
        expected = jax.nn.relu(output.features) @ head["kernel"] + head["bias"][None]
        np.testing.assert_allclose(output.logits, expected, rtol=1e-5)
        self.assertEqual(layer == "body", bool((output.features >= 0).all()))

    def test_features_are_those_of_the_last_call(self):
        model = models.linen(Shared(), layer="shared")
        params = model.init(jax.random.key(1), images())
        head = params["params"]["Dense_0"]
        output = model.apply(params, images())
        expected = output.features @ head["kernel"] + head["bias"][None]
        np.testing.assert_allclose(output.logits, expected, rtol=1e-5)

    @parameterized.parameters("Dense", "Dense_0/body", "")
    def test_says_which_layers_there_are(self, layer):
        model = models.linen(Plain(), layer=layer)
        params = model.init(jax.random.key(1), images())
        with self.assertRaisesRegex(
            ValueError, "there are Dense_0, body, body/Dense_0"
        ):
            model.apply(params, images())

    def test_deterministic_is_the_opposite_of_training(self):
        model = models.linen(Deterministic(), train_argument="deterministic")
        params = model.init(jax.random.key(1), images())
        _, updated = model.train(params, images())
        self.assertFalse(equal(params["batch_stats"], updated["batch_stats"]))
        self.assertTrue(equal(params["params"], updated["params"]))
        np.testing.assert_allclose(
            model.apply(params, images()[:1]).logits,
            model.apply(params, images()).logits[:1],
            rtol=1e-5,
        )

    def test_needs_an_argument_that_exists(self):
        message = "needs deterministic beside .* train_argument='deterministic'"
        with self.assertRaisesRegex(ValueError, message):
            models.linen(Deterministic())
        with self.assertRaisesRegex(ValueError, "no argument 'training', but .'x'"):
            models.linen(Plain(), train_argument="training")

    def test_each_takes_its_own_modules(self):
        with self.assertRaisesRegex(ValueError, "takes a linen module such as MyMod"):
            models.linen(Plain)
        with self.assertRaisesRegex(ValueError, "those of NNX go to models.nnx"):
            models.linen(nnx.Linear(3, 3, rngs=nnx.Rngs(0)))
        with self.assertRaisesRegex(ValueError, "those go to models.linen"):
            models.nnx(Plain())

    def test_dropout_is_refused(self):
        model = models.linen(Deterministic(0.5), train_argument="deterministic")
        params = model.init(jax.random.key(1), images())
        with self.assertRaisesRegex(ValueError, "draws random numbers.* rates to 0"):
            model.train(params, images())


class NNXTest(parameterized.TestCase):
    def test_is_the_module(self):
        x = images()
        model = models.nnx(Network)
        params = model.init(jax.random.key(1), x)
        module = Network(nnx.Rngs(jax.random.key(1)))
        module.eval()
        expected = module(x)
        # Compiled draws differ in the last bit.
        np.testing.assert_allclose(
            model.apply(params, x).logits, expected.logits, rtol=1e-5
        )
        np.testing.assert_allclose(
            model.apply(params, x).features, expected.features, rtol=1e-5
        )
        other = model.init(jax.random.key(2), x)
        self.assertFalse(equal(params["params"], other["params"]))

    def test_training_updates_statistics_and_draws_anew(self):
        model = models.nnx(Network)
        params = model.init(jax.random.key(1), images())
        first, updated = model.train(params, images())
        self.assertTrue(equal(params["params"], updated["params"]))
        mean = [p["state"]["norm.mean"] for p in (params, updated)]
        self.assertFalse(equal(*mean))
        # What is dropped out differs from step to step.
        second, _ = model.train(updated, images())
        self.assertFalse(equal(first.features == 0, second.features == 0))

    def test_learns(self):
        check_learns(models.nnx(lambda rngs: Network(rngs, rate=0.0)))

    def test_a_trained_module_is_where_training_starts(self):
        module = Network(nnx.Rngs(3))
        model = models.nnx(module)
        one, other = (model.init(jax.random.key(key), images()) for key in (1, 2))
        self.assertTrue(equal(one, other))
        module.eval()
        np.testing.assert_allclose(
            model.apply(one, images()).logits, module(images()).logits, rtol=1e-6
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Callable:
    """A tree of arrays that can be called, as the networks of Equinox are."""

    kernel: Any

    def __call__(self, x):
        return x.reshape(len(x), -1) @ self.kernel


class FunctionTest(parameterized.TestCase):
    def weights(self):
        return jax.random.normal(jax.random.key(4), (12, 3))

    @staticmethod
    def linear(params, x):
        return x.reshape(len(x), -1) @ params

    @staticmethod
    def two_layers(params, x):
        first, (second,) = params
        features = jax.nn.relu(x.reshape(len(x), -1) @ first)
        return models.Output(features @ second, features)

    def test_dicts_stay(self):
        def apply(params, x):
            return self.linear(params["head"]["kernel"], x)

        tree = {"head": {"kernel": self.weights()}}
        model = models.function(apply, tree)
        params = model.init(jax.random.key(0), images())
        self.assertTrue(equal(params, {"params": tree}))
        logits = apply(tree, images())
        np.testing.assert_array_equal(model.apply(params, images()).logits, logits)
        np.testing.assert_array_equal(model.apply(params, images()).features, logits)
        output, same = model.train(params, images())
        np.testing.assert_array_equal(output.logits, logits)
        self.assertIs(same, params)

    def test_an_array(self):
        model = models.function(self.linear, self.weights())
        check_learns(model)

    def test_other_trees_become_dicts_by_path(self):
        tree = (jnp.eye(12, 5), [self.weights()[:5]])
        model = models.function(self.two_layers, tree)
        params = model.init(jax.random.key(0), images())
        self.assertEqual(list(params["params"]), ["0", "1.0"])
        np.testing.assert_array_equal(
            model.apply(params, images()).features,
            self.two_layers(tree, images()).features,
        )
        check_learns(model)

    def test_a_tree_that_can_be_called_is_no_initialiser(self):
        net = Callable(self.weights())
        model = models.function(lambda net, x: net(x), net)
        state = check_learns(model)
        self.assertEqual(list(state.params["params"]), ["kernel"])

    def test_draws_parameters(self):
        def init(key, x):
            one, two = jax.random.split(key)
            size = x[0].size
            return (
                0.3 * jax.random.normal(one, (size, 4)),
                [jax.random.normal(two, (4, 3))],
            )

        model = models.function(self.two_layers, init)
        one, same, other = (
            model.init(jax.random.key(key), images()) for key in (0, 0, 1)
        )
        self.assertTrue(equal(one, same))
        self.assertFalse(equal(one, other))
        # Another process, which never drew any, reads them.
        fresh = models.function(self.two_layers, init)
        self.assertTrue(equal(model.apply(one, images()), fresh.apply(one, images())))

    def test_parameters_that_are_no_arrays(self):
        tree = {"kernel": self.weights(), "activation": jax.nn.relu}
        with self.assertRaisesRegex(ValueError, "activation is a .*; .* eqx.partition"):
            models.function(self.linear, tree)

    @parameterized.parameters(
        (lambda params, x: (x, x), "got a tuple; to pick one"),
        (lambda params, x: params, r"logits \[B, K\] for its 5 images, got .*12, 3"),
    )
    def test_must_return_logits(self, apply, message):
        model = models.function(apply, self.weights())
        params = model.init(jax.random.key(0), images())
        with self.assertRaisesRegex(ValueError, message):
            model.apply(params, images())
