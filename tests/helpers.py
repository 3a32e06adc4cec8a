"""Tiny experiments that several tests run, and a `Progress` that remembers."""

import collections
import tempfile
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp

from nrf.config import (
    PGD,
    AutoAttack,
    Closeness,
    Controls,
    Evaluation,
    Experiment,
    Features,
    Leakage,
    Learner,
    Plane,
    Set,
    Student,
    Tables,
    Training,
    Transfer,
    Work,
)
from nrf.experiments import Match, Mislabel, main
from nrf.experiments.controls import Isolate, Mistakes, RandomPush
from nrf.models import MLP, Linear, ResNet18, Small
from nrf.runs import Progress

ROOT = Path(__file__).parent.parent
TRAINING = Training(epochs=2, batch_size=20, learning_rate=0.05)
SHORT = Training(epochs=1, batch_size=4, learning_rate=1e-4)
PUSH = PGD("l2", 1.0, steps=3, step_size=0.5)
FEATURES = Features("l2", 0.5, images=110, steps=2)
CLOSENESS = Closeness(images=30, matched=8, steps=40)
# What withstood is attacked again, which most tests do not look at.
THOROUGH = Evaluation("l2", (0.5,), steps=3)
AUTOATTACK = AutoAttack(images=30, steps=3, targets=2, queries=5)
# Of `tiny`, in their order.
STEPS = (
    "standard robust D_R D_NR D_rand D_det on_D_R on_D_NR on_D_rand on_D_det "
    "score_standard_clean score_standard_l2_0.5 score_robust_clean score_robust_l2_0.5 "
    "score_on_D_R_clean score_on_D_R_l2_0.5 score_on_D_NR_clean score_on_D_NR_l2_0.5 "
    "score_on_D_rand_clean score_on_D_rand_l2_0.5 score_on_D_det_clean "
    "score_on_D_det_l2_0.5"
).split()


def folder_of(case: type) -> Path:
    """A folder that lasts as long as the tests of the class `case`."""
    folder = tempfile.TemporaryDirectory()
    case.addClassCleanup(folder.cleanup)
    return Path(folder.name)


def tiny(**changes) -> Experiment:
    """Two epochs of everything on 60 digits."""
    match = Match(steps=3, step_size=0.1)
    settings = dict(
        name="tiny",
        data="digits",
        network=Small((0.3,), (0.38,), widths=(4, 5)),
        networks={
            "standard": TRAINING,
            "robust": replace(TRAINING, attack=PGD("l2", 0.5, 2, 0.3)),
        },
        sets=(
            Set("D_R", match, "robust", TRAINING),
            Set("D_NR", match, "standard", TRAINING),
            Set("D_rand", Mislabel(PUSH, "random", True), "standard", TRAINING),
            Set("D_det", Mislabel(PUSH, "next", True), "standard", TRAINING),
        ),
        evaluation=replace(THOROUGH, thorough=()),
        train_examples=60,
        test_examples=40,
        work=Work(
            synthesis_batch=32,
            evaluation_batch=20,
            autoattack_batch=20,
            feature_batch=20,
            feature_units=2,
        ),
    )
    return Experiment(**{**settings, **changes})


def students() -> dict[str, Student]:
    """Learners of two other kinds, beside `tiny`."""
    pixels = (0.3,), (0.38,)
    return {
        "mlp": Student(MLP(*pixels, widths=(6,)), TRAINING),
        "linear": Student(Linear(*pixels), replace(TRAINING, weight_decay=0.01)),
    }


def tables() -> Tables:
    """The other rows of the paper's tables, beside `tiny`."""
    D_R, D_NR, D_rand, D_det = tiny().sets
    noise = Match(2, 0.1, start="noise")
    return Tables(
        sets=(
            replace(D_rand, name="D_rand_robust", source="robust", attacked=False),
            replace(D_det, name="D_det_robust", source="robust", attacked=False),
            replace(D_R, name="D_R_noise", recipe=noise),
            replace(D_NR, name="D_NR_noise", recipe=noise),
            replace(D_R, name="D_R_test", of="test", train=None),
        ),
        relabelled=("on_D_det", "on_D_det_robust"),
        elsewhere=(("on_D_R", "D_R"), ("on_D_R", "D_R_test")),
        strength=(1, 3),
    )


def controls() -> Controls:
    """What the paper's readers asked for, beside `tiny`."""
    _, _, D_rand, D_det = tiny().sets
    others = ("other0", "other1")
    isolate = Isolate(PGD("l2", 1.0, steps=4, step_size=0.5))
    linear = replace(SHORT, attack=PGD("l2", 0.1, 2, 0.05))
    return Controls(
        networks={
            "labeller": SHORT,
            **dict.fromkeys((*others, "fresh"), TRAINING),
        },
        sets=(
            replace(D_rand, name="D_rand_random", recipe=RandomPush(), source="D_rand"),
            replace(D_det, name="D_det_random", recipe=RandomPush(), source="D_det"),
            Set("D_errors", Mistakes(least=4), "labeller", SHORT),
            Set("D_bugs", isolate, ("standard", *others), SHORT),
        ),
        asked=(("standard", "fresh"), ("D_det", "D_bugs")),
        leakage=Leakage(linear, epsilon=0.1),
        plane=Plane(classes=(3, 1), epsilon=0.5),
    )


def learner(name: str, network) -> Learner:
    return Learner(name, network, TRAINING, TRAINING)


def tiny_transfer(**changes) -> Transfer:
    """Two epochs of everything on 120 digits."""
    pixels = (0.3,), (0.38,)
    settings = dict(
        name="tiny",
        data="digits",
        source=Small(*pixels, widths=(4, 5)),
        source_training=TRAINING,
        learners=(
            learner("mlp", MLP(*pixels, widths=(4, 5))),
            learner("small", Small(*pixels, widths=(4, 5))),
            learner("resnet18", ResNet18(*pixels, width=2)),
        ),
        attack=PUSH,
        D_det=Mislabel(PUSH, "next"),
        train_examples=120,
        test_examples=60,
        work=Work(evaluation_batch=20, synthesis_batch=20),
    )
    return Transfer(**{**settings, **changes})


class Recorder(Progress):
    """Remembers what it was told."""

    def __init__(self):
        self.steps: int | None = None
        self.begun: dict[str, int | None] = {}
        self.advanced: collections.Counter[str] = collections.Counter()
        self.measured: list[tuple[str, dict]] = []
        self.ended: dict[str, str] = {}  # Summaries.
        self.skipped: list[str] = []

    def start(self, steps):
        self.steps = steps

    def begin(self, step, examples):
        self.begun[step] = examples

    def advance(self, step, examples):
        self.advanced[step] += examples

    def metrics(self, step, values):
        self.measured.append((step, values))

    def end(self, step, seconds, summary):
        assert seconds >= 0
        self.ended[step] = summary

    def skip(self, step):
        self.skipped.append(step)


def check_again(test, parts):
    """Runs a test's config once more: nothing is made, and these parts are the same."""
    heard = Recorder()
    again = main.run(test.config, test.out, progress=heard)
    test.assertEmpty(heard.begun)
    for part in parts:
        test.assertEqual(again[part], test.results[part])


def check_planned(test, planned, heard: Recorder) -> None:
    """Compares a plan that was made before the run with what the run made."""
    test.assertEqual(list(heard.begun), [one.step for one in planned])
    test.assertEqual(heard.steps, len(planned))
    test.assertEqual({one.done for one in planned}, {False})
    examples = {one.step: one.examples for one in planned}
    # How many images a network gets wrong is not known before.
    for one in {*examples} - {"seed0/on_D_errors"}:
        test.assertEqual(examples[one], heard.begun[one], one)
        test.assertEqual(heard.advanced[one], heard.begun[one] or 0, one)


def higher(best, x, values):
    """The images of x, and their values, where these exceed those of `best`."""
    images, most = best
    chosen = (values > most)[:, None, None, None]
    return jnp.where(chosen, x, images), jnp.maximum(values, most)
