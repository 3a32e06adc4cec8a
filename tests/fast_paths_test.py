"""What is compiled for CPUs, where slow ways do the same as fast ones."""

import functools
import re
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import attacks, losses, train
from nrf.config import Training
from nrf.experiments import build
from nrf.models import VGG16, InceptionV3, Small, linen, small
from nrf.models.densenet import DenseNet
from nrf.models.resnet import ResNet

IMAGES = 16
PIXELS = (0.5,), (0.25,)
# As published, but for repetitions; and how many convolutions of a gradient to images
# are slow: those of strided windows, and one that adds two pixels on every side.
NETWORKS = {
    "Small": (Small(*PIXELS).build(5), 0),
    "ResNet-18": (linen(ResNet(5, *PIXELS, blocks=(1,) * 4)), 3),
    "ResNet-50": (linen(ResNet(5, *PIXELS, blocks=(1,) * 4, bottleneck=True)), 3),
    "VGG-16": (VGG16(*PIXELS).build(5), 0),
    "DenseNet-121": (linen(DenseNet(5, *PIXELS, layers=(1, 2, 1, 1))), 0),
    "Inception-v3": (InceptionV3(*PIXELS).build(5), 5),
}
OPTIMIZER = build.optimizer(Training(epochs=1, batch_size=8, learning_rate=0.1))


def pgd(loss, threat):
    return attacks.pgd(loss, threat, steps=2, step_size=0.1)


def task(net, kind):
    """PGD, matching or a step of adversarial training, compiled for shapes alone."""
    x = jax.ShapeDtypeStruct((IMAGES, 32, 32, 3), jnp.float32)
    y = jax.ShapeDtypeStruct((IMAGES,), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(net.init, key, x)
    attack = pgd(losses.cross_entropy(net.apply), attacks.l2(0.5))
    if kind == "training":
        start = functools.partial(train.init, model=net, optimizer=OPTIMIZER)
        state = jax.eval_shape(lambda key, x: start(key, x=x), key, x)
        step = train.make_step(net, OPTIMIZER, attack=attack)
        given = {"rate": 0.1, "weight_decay": 5e-4}
        return jax.jit(step).lower(key, state, x, y, **given).compile().as_text()
    if kind == "matching":
        towards = losses.negate(losses.feature_distance(net.apply))
        attack = pgd(towards, attacks.free())
        y = jax.eval_shape(net.apply, params, x).features
    return jax.jit(attack).lower(key, params, x, y).compile().as_text()


def slow(text):
    """Convolutions that XLA does not hand to YNNPACK, and copies of images."""
    bodies = {body.split(" ", 1)[0]: body for body in text.split("\n\n")}
    fast = re.findall(r" calls=(\S+?),.*__ynn_fusion", text)
    others = "\n".join(body for name, body in bodies.items() if name not in fast)
    convolutions = re.findall(r".* convolution\(.*", others)
    images = rf".*\[{IMAGES},\d+,\d+,\d+\]\S* (?:copy|transpose)\(.*"
    return convolutions, re.findall(images, others)


def mean_of_squares(x):
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


class SpeedTest(parameterized.TestCase):
    """What fails here is slow, not wrong: benchmarks/attack_speed.py tells how slow."""

    @parameterized.parameters(
        *((name, "PGD") for name in NETWORKS),
        ("Small", "matching"),
        ("Small", "training"),
        ("ResNet-18", "training"),
    )
    def test_convolutions_are_fast_and_images_are_not_copied(self, name, kind):
        net, known = NETWORKS[name]
        convolutions, copies = slow(task(net, kind))
        # In a step of training once to attack, and once to update.
        known *= 2 if kind == "training" else 1
        for found, allowed, what in (
            (convolutions, known, "convolutions outside of YNNPACK"),
            (copies, 1, "copies of images, beside that with which the attack begins"),
        ):
            message = "\n".join([f"{name}, {kind}: {len(found)} {what}:", *found])
            self.assertLessEqual(len(found), allowed, message)

    @parameterized.parameters("float32", "bfloat16")
    def test_beside_onednn_halves_are_means_without_a_reduction(self, dtype):
        x, dx, g = (
            jax.random.normal(jax.random.key(i), shape, dtype)
            for i, shape in enumerate(((2, 5, 8, 3), (2, 5, 8, 3), (2, 2, 4, 3)))
        )

        def every(f):
            y, pull = jax.vjp(f, x)
            return y, pull(g), jax.jvp(f, (x,), (dx,))

        with mock.patch.object(small, "onednn", SimpleNamespace(in_use=lambda: True)):
            actual = jax.tree.leaves(jax.jit(lambda: every(small.halve))())
            program = str(jax.make_jaxpr(lambda x: small.halve(x))(x))
        expected = jax.tree.leaves(every(mean_of_squares))
        for a, b in zip(actual, expected, strict=True):
            self.assertEqual(a.dtype, b.dtype)
            np.testing.assert_allclose(
                *(np.asarray(v, np.float32) for v in (a, b)), rtol=1e-6, atol=1e-6
            )
        # XLA's CPU backend would not fuse one with what made x.
        self.assertNotIn("reduce", program)
        without, mean = (
            str(jax.make_jaxpr(lambda x, f=f: f(x))(x))
            for f in (small.halve, mean_of_squares)
        )
        self.assertEqual(without, mean)
