"""What is compiled: with which communication, and for which devices."""

import functools
import math
import re
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax import lax

from nrf import attacks, data, devices, losses, synthesize, train
from nrf.config import Evaluation, Features, Training
from nrf.evaluate import active as planting
from nrf.evaluate import checks
from nrf.experiments import build, climbs
from nrf.models import Small, model

CLASSES, BATCH, SIDE = 4, 8, 4
WIDTHS = (3, 5)
NET = build.model(Small((0.3,), (0.38,), widths=WIDTHS), CLASSES)
EVALUATION = Evaluation("l2", (0.5,), steps=2, queries=2)
# As XLA calls it; where it does not wait, "all-gather-start".
COMMUNICATION = re.compile(
    r"= (.*?) (all-[a-z-]+|collective-[a-z-]+|reduce-scatter|ragged-[a-z-]+)\("
)


class Program(NamedTuple):
    """`f(*copied, *split)`: of the latter every device has a part of the batch."""

    f: Callable
    copied: tuple
    split: tuple


def images(seed=0):
    shape = (BATCH, SIDE, SIDE, 1)
    return np.random.default_rng(seed).random(shape, np.float32)


@functools.cache
def state():
    return train.init(jax.random.key(0), NET, optimizer(), images())


def optimizer():
    return build.optimizer(Training(epochs=1, batch_size=8, learning_rate=0.1))


def training(attack=None):
    """A step of training as experiments have it, with all there is to augment."""

    def augment(key, x, *, pad, flip, **_):
        return data.augment(key, x, pad=pad, flip=flip, jitter=0.2, rotation=9)

    step = train.make_step(NET, optimizer(), attack=attack, augment=augment)

    def given(key, state, x, y):
        # Numbers that the compiler does not know.
        moves = {"pad": state.step + 1, "flip": state.step == 0}
        return step(key, state, x, y, rate=0.1, weight_decay=5e-4, **moves)

    return Program(given, (jax.random.key(1), state()), (images(), labels()))


def labels():
    return np.arange(BATCH, dtype=np.int32) % CLASSES


def indices():
    return np.arange(BATCH)


def at(f, *more):
    """What takes key, network, radius, and more; then places, images and labels."""
    before = jax.random.key(1), state().params, jnp.float32(0.5), *more
    return Program(f, before, (indices(), images(), labels()))


def pgd(loss, threat=None, **options):
    return attacks.pgd(
        loss, threat or attacks.l2(0.5), steps=2, step_size=0.1, **options
    )


def attack(threat, number, steps=2):
    """One of AutoAttack's four, as `evaluate.sequence` compiles it."""
    component = attacks.autoattack(
        NET.apply, threat, CLASSES, steps=steps, targets=2, queries=3
    )[number]

    def perturb(key, params, epsilon, turn, indices, x, y):
        keys = attacks.example_keys(key, indices)
        return component.attack_at(epsilon, turn)(keys, params, x, y)

    return at(perturb, jnp.int32(1))


def matching():
    match = synthesize.make_robustify(NET.apply, lambda loss: pgd(loss, attacks.free()))
    rest = indices(), images(1), images()
    return Program(match, (jax.random.key(1), state().params), rest)


def pushes(make, params):
    loss = losses.negate(losses.cross_entropy(NET.apply))
    if make is synthesize.make_isolate:
        loss = losses.disentangled(loss)
    rest = indices(), images(), labels(), labels()[::-1].copy()
    return Program(make(NET.apply, pgd(loss)), (jax.random.key(1), params), rest)


def isolated():
    others = jax.tree.map(lambda a: jnp.stack([a, a]), state().params)
    return {"source": state().params, "others": others}


def restarts():
    runs = pgd(losses.margin(NET.apply), random_start=True, restarts=3, momentum=1.0)
    return at(checks.make_attack(lambda epsilon: runs))


def check(name, *more):
    return at(getattr(climbs.checks(NET, EVALUATION), name), *more)


def observe():
    probes = images(2)[:3], labels()[:3]
    before = state().params, jnp.float32(0.5), probes
    observed = climbs.checks(NET, EVALUATION).observe
    z = np.zeros((BATCH, CLASSES), np.float32)
    return Program(observed, before, (z, images(1), images(), labels()))


def companions():
    logits = build.logits(NET)
    return Program(
        lambda params, x: checks.compare(logits, params, x),
        (state().params,),
        (images(),),
    )


def active():
    program = check("active")

    def short(*arguments):
        # More rounds, and more points, are the same again.
        with mock.patch.multiple(planting, _ROUNDS=1, _RANDOM=1):
            return program.f(*arguments)

    return program._replace(f=short)


def features(name, *more):
    probe = build.probe(NET, Features("l2", 0.5, images=4, steps=2))
    before = jax.random.key(1), state().params, jnp.float32(0.5), *more
    return Program(getattr(probe, name), before, (indices(), images()))


PROGRAMS = {
    "training": training,
    "adversarial training": lambda: training(pgd(losses.cross_entropy(NET.apply))),
    "matching": matching,
    "push": lambda: pushes(synthesize.make_mislabel, state().params),
    "isolating push": lambda: pushes(synthesize.make_isolate, isolated()),
    "random push": lambda: Program(
        synthesize.random_push,
        (),
        (jax.random.split(jax.random.key(1), BATCH), images(), np.ones(BATCH, "f")),
    ),
    "accuracy": lambda: at(build.correct(NET).test),
    "PGD": lambda: check("attack"),
    "PGD with restarts": restarts,
    "Auto-PGD": lambda: attack(attacks.linf, 0),
    "Auto-PGD in l1": lambda: attack(attacks.l1, 0, steps=5),
    "Auto-PGD with targets": lambda: attack(attacks.l2, 1),
    "FAB": lambda: attack(attacks.l2, 2),
    "FAB in l1": lambda: attack(attacks.l1, 2, steps=5),
    "Square": lambda: attack(attacks.linf, 3),
    "Square in l2": lambda: check("other"),
    "evidence": observe,
    "companions": companions,
    "active test": active,
    "features": lambda: features("extremes", jnp.arange(3)),
    "farthest features": lambda: features("farthest"),
}


def compiled(program, mesh):
    """The program's text, as it runs on all devices of the mesh."""
    split = devices.split(mesh, program.split)
    arguments = *devices.copy(mesh, program.copied), *split
    return jax.jit(program.f).lower(*arguments).compile().as_text()


def lowered(program, *platforms):
    """The program's text before it is compiled, for platforms that need not be here."""
    traced = jax.jit(program.f).trace(*program.copied, *program.split)
    return traced.lower(lowering_platforms=platforms).as_text()


def counts(text, *operations):
    return [len(re.findall(rf"stablehlo\.{one}\b", text)) for one in operations]


class CommunicationTest(parameterized.TestCase):
    """Read off what is compiled for four devices."""

    @parameterized.parameters(*(name for name in PROGRAMS if "training" not in name))
    def test_there_is_none_where_examples_are_on_their_own(self, name):
        found = COMMUNICATION.findall(compiled(PROGRAMS[name](), devices.make_mesh()))
        self.assertEmpty(found)

    @parameterized.parameters("training", "adversarial training")
    def test_trainings_sum_gradients_and_statistics(self, name):
        found = COMMUNICATION.findall(compiled(PROGRAMS[name](), devices.make_mesh()))
        self.assertEqual({operation for _, operation in found}, {"all-reduce"})
        # As in "(f32[9,3]{1,0}, f32[])".
        shapes = re.findall(r"\[(.*?)\]", " ".join(types for types, _ in found))
        sent = sum(math.prod(map(int, re.findall(r"\d+", shape))) for shape in shapes)
        weights = sum(a.size for a in jax.tree.leaves(state().params["params"]))
        channels = sum(WIDTHS)
        # Mean and square for every channel, and as many on the way back, where the
        # gradients of scale and bias are not among them; the loss and the accuracy.
        self.assertLessEqual(sent, weights + 6 * channels + 2)


class LoweringTest(parameterized.TestCase):
    """Read off what a machine with CPUs alone makes for others."""

    @parameterized.parameters(*PROGRAMS)
    def test_other_platforms_do_not_get_the_convolutions_of_cpus(self, name):
        text = lowered(PROGRAMS[name](), "cuda", "tpu")
        self.assertEqual(counts(text, "optimization_barrier"), [0])

    def test_they_get_those_of_lax(self):
        of_cpus = "optimization_barrier", "while", "transpose", "convolution"
        ours, on_cpus = lowered(training(), "cuda"), lowered(training(), "cpu")
        with mock.patch.object(model, "conv", lax.conv_general_dilated):
            theirs = lowered(training(), "cuda")
        self.assertEqual(counts(ours, *of_cpus), counts(theirs, *of_cpus))
        for there, count in zip(
            counts(on_cpus, *of_cpus), counts(ours, *of_cpus), strict=True
        ):
            self.assertNotEqual(there, count)

    @parameterized.parameters("float32", "bfloat16")
    def test_products_are_as_exact_as_asked(self, precision):
        program = training()
        with jax.default_matmul_precision(precision):
            text = lowered(program, "cuda")
        products = re.findall(r"stablehlo\.(?:convolution|dot_general).*", text)
        self.assertLen(products, 8)
        said = "HIGHEST" if precision == "float32" else "DEFAULT"
        for product in products:
            self.assertEqual(re.findall(r"[A-Z]{4,}", product), [said, said], product)
