"""Networks of the catalogue: one function, and what may be wrong with it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from nrf import data
from nrf.types import Dataset

COUNT, WIDTH = 100, 128  # Images, and units of the hidden layer.
_GENERATOR = np.random.default_rng(0)


@jax.custom_vjp
def backwards(x):
    return x


backwards.defvjp(lambda x: (x, None), lambda _, g: (-g,))


@jax.custom_vjp
def decoy(x):
    return x


# The slope of something else, as steep as the true one.
decoy.defvjp(lambda x: (x, None), lambda _, g: (jnp.roll(g[:, ::-1], 3, (1, 2)),))


def keyed_noise(x):
    """Noise that is always the same for the same image, and other for any other."""
    # A generator of random numbers would take a minute to compile, in every program.
    key = np.random.default_rng(3).normal(size=(x[0].size, x[0].size))
    drawn = jnp.sin(1e5 * (x.reshape(len(x), -1) @ jnp.asarray(key, x.dtype)))
    return x + 0.15 * jax.lax.stop_gradient(drawn).reshape(x.shape)


def on_grid(x):
    """[B] whether all pixels are of the sixteenths that images of digits have."""
    return jnp.all(jnp.abs(16 * x - jnp.round(16 * x)) < 1e-3, (1, 2, 3))


def if_off_grid(change):
    def changed(x):
        return jnp.where(on_grid(x)[:, None, None, None], x, change(x))

    return changed


def drawn_anew(x):
    def draw():
        return _GENERATOR.normal(size=x.shape).astype(np.float32)

    return x + 0.1 * jax.pure_callback(draw, jax.ShapeDtypeStruct(x.shape, x.dtype))


def light_at_random(x):
    """A random transformation of the input, which attacks must take the mean over."""

    def draw():
        return _GENERATOR.uniform(0.7, 1, (len(x), 1, 1, 1)).astype(np.float32)

    return x * jax.pure_callback(draw, jax.ShapeDtypeStruct((len(x), 1, 1, 1), x.dtype))


def batch_statistics(x):
    mean, variance = jnp.mean(x, 0, keepdims=True), jnp.var(x, 0, keepdims=True)
    return 0.35 + 0.3 * (x - mean) / jnp.sqrt(variance + 0.01)


def sees_its_neighbours(x):
    return 0.7 * x + 0.3 * jnp.roll(x, 1, 0)


def thermometer(x):
    levels = jnp.arange(0.125, 1, 0.25).reshape(1, 1, 1, 1, 4)
    return jnp.mean((x[..., None] > levels).astype(x.dtype), -1)


def fixed_noise(x):
    noise = jnp.asarray(np.random.default_rng(1).normal(size=x.shape[1:]), x.dtype)
    return x + 0.05 * noise[None]


IMAGES = {
    "as they are": lambda x: x,
    "rounded": lambda x: jnp.round(4 * x) / 4,
    "cut off": lambda x: jnp.floor(7 * x) / 7,
    "thermometer code": thermometer,
    "no gradient": jax.lax.stop_gradient,
    "shattered": lambda x: x + 0.02 * jnp.sin(300 * x),
    "finely shattered": lambda x: x + 0.01 * jnp.sin(2000 * x),
    "reversed gradient": backwards,
    "decoy gradient": decoy,
    "detector without gradient": if_off_grid(jax.lax.stop_gradient),
    "detector that cleans": if_off_grid(lambda x: jnp.round(16 * x) / 16),
    "detector that blurs": if_off_grid(lambda x: 0.5 * (x + jnp.roll(x, 1, 2))),
    "keyed noise": keyed_noise,
    "noise": drawn_anew,
    "random light": light_at_random,
    "batch statistics": batch_statistics,
    "neighbours": sees_its_neighbours,
    "root and square": lambda x: jnp.sqrt(x) ** 2,
    "fixed noise": fixed_noise,
}


LOGITS = {
    "as they are": lambda z: z,
    "a thousand times": lambda z: 1000 * z,
    "a thousandth": lambda z: z / 1000,
    "vanishingly small": lambda z: 1e-14 * z,
    "probabilities": jax.nn.softmax,
    "log-probabilities": jax.nn.log_softmax,
    "logarithm of a softmax": lambda z: jnp.log(jax.nn.softmax(30 * z)),
    "rounded": jnp.round,
    "no number": lambda z: jnp.where(z[:, :1] > 1, jnp.nan, z),
    "above 65,504": lambda z: (1e4 * z).astype(jnp.float16).astype(jnp.float32),
    "offset": lambda z: z + 1000,
    "never class 0": lambda z: z - 100 * jnp.eye(1, z.shape[1], dtype=z.dtype),
    "saturated by tanh": lambda z: 10 * jnp.tanh(z / 10),
}
PRECISION = {"float32": (8, 23), "bfloat16": (8, 7), "float16": (5, 10)}


@jax.jit  # Traced once for all that calls it.
def apply(params, x):
    """Logits [B, K] of a network with one hidden layer, changed as `params` say."""
    x = jax.lax.switch(params["images"], list(IMAGES.values()), x)

    def rounded(a):
        branches = [
            lambda a, bits=bits: jax.lax.reduce_precision(a, *bits)
            for bits in PRECISION.values()
        ]
        return jax.lax.switch(params["precision"], branches, a)

    w = params["weights"]
    x = rounded(x.reshape(len(x), -1))
    hidden = rounded(jax.nn.relu(rounded(x @ w["in"]) + w["bias"][None]))
    z = rounded(rounded(hidden @ w["out"]) + w["offset"][None])
    return jax.lax.switch(params["logits"], list(LOGITS.values()), z)


@functools.cache
def dataset(name: str) -> Dataset:
    """Images [N, 8, 8, 1] and labels."""
    test = data.load("digits")[1]
    images, labels = test.images[:COUNT], test.labels[:COUNT]
    if name == "digits":
        return Dataset(images, labels, test.names)
    if name == "labels shuffled":
        labels = np.random.default_rng(1).permutation(labels)
    elif name == "labels off by one":
        labels = (labels + 1) % 10
    elif name == "one class":
        images, labels = test.images[test.labels == 3][:20], np.full(20, 3, np.int32)
    elif name == "few":
        images, labels = images[:12], labels[:12]
    elif name == "stripes":  # Bright rows by class: classes are far apart.
        random = np.random.default_rng(2)
        labels = random.integers(0, 2, COUNT).astype(np.int32) * 5
        images = np.full((COUNT, 8, 8, 1), 0.1) + 0.1 * random.random((COUNT, 8, 8, 1))
        for image, label in zip(images, labels, strict=True):
            image[label // 5 * 4 : label // 5 * 4 + 4] += 0.7
        images = images.astype(np.float32)
    elif name == "as answered":  # Labels that a network of random weights gives.
        hidden = np.maximum(_flat(images) @ weights("random")["in"], 0)
        labels = np.argmax(hidden @ weights("random")["out"], 1).astype(np.int32)
    else:
        raise ValueError(name)
    return Dataset(images, labels, test.names)


@functools.cache
def weights(name: str) -> dict[str, np.ndarray]:
    """Of the hidden layer and of the readout, which is a ridge regression."""
    training, _ = data.load("digits")
    random = np.random.default_rng(0)
    inner = random.normal(size=(64, WIDTH)) / 8
    bias = random.normal(size=WIDTH) / 4
    images, labels = _flat(training.images), training.labels
    if name == "linear":
        bias = np.full(WIDTH, 10.0)  # No unit is ever off.
    elif name == "other":
        inner = np.random.default_rng(5).normal(size=(64, WIDTH)) / 8
    elif name == "stripes":
        images, labels = _flat(dataset("stripes").images), dataset("stripes").labels
    elif name == "random":
        outer = 3 * np.random.default_rng(6).normal(size=(WIDTH, 10))
        return _single(
            {"in": inner, "bias": 0 * bias, "out": outer, "offset": [0] * 10}
        )
    hidden = np.maximum(images @ inner + bias, 0)
    hidden = np.concatenate([hidden, np.ones((len(hidden), 1))], 1)
    wanted = 10 * np.eye(10)[labels] - 1
    matrix = hidden.T @ hidden + np.eye(WIDTH + 1)
    outer = np.linalg.solve(matrix, hidden.T @ wanted)
    return _single({"in": inner, "bias": bias, "out": outer[:-1], "offset": outer[-1]})


def _flat(images):
    return images.reshape(len(images), -1)


def _single(values):
    return {name: np.asarray(value, np.float32) for name, value in values.items()}
