"""Configs: every file builds, and wrong numbers are refused before any work."""

import dataclasses
import runpy
import subprocess
import sys
from pathlib import Path

import helpers
import numpy as np
from absl.testing import parameterized
from helpers import tiny

from nrf import config
from nrf.config import Set, fields, options
from nrf.experiments import Match, Mislabel, build
from nrf.losses import Trades

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
PUSH = config.PGD("l2", 0.5, 7, 0.1)
TRAINING = config.Training(epochs=1, batch_size=4, learning_rate=0.1)
SCRIPTS = {
    config.Experiment: "run",
    config.Theory: "theory",
    config.Transfer: "transfer",
}


def replaced(**changes):
    return lambda: dataclasses.replace(TRAINING, **changes)


class ConfigTest(parameterized.TestCase):
    @parameterized.named_parameters((path.stem, path) for path in CONFIGS)
    def test_files_hold_a_config_whose_networks_can_be_built(self, path):
        loaded = runpy.run_path(str(path))
        shown = loaded["config"]
        self.assertEqual(shown.name, path.stem)
        # Its header says how to run it.
        commands = (
            f"python scripts/{SCRIPTS[type(shown)]}.py configs/{path.name}",
            f"nrf run {path.stem}",
        )
        self.assertTrue(any(command in loaded["__doc__"] for command in commands))
        networks = {
            config.Experiment: lambda c: [c.network],
            config.Theory: lambda c: [c.ellipses.network],
            config.Transfer: lambda c: [c.source, *(one.network for one in c.learners)],
        }[type(shown)](shown)
        for network in networks:
            build.model(network, 10)
        # The same config once more: compiled programs are found again by it.
        self.assertEqual(options.load(path.stem), options.load(path.stem))

    @parameterized.parameters(*options.shipped())
    def test_every_field_of_the_shipped_configs_has_a_sentence(self, name):
        silent = [
            entry.path
            for entry in fields.walk(options.load(name))
            if isinstance(entry, fields.Field) and not entry.text
        ]
        self.assertEmpty(silent)

    def test_needs_no_jax(self):
        code = "import sys, nrf.config; sys.exit('jax' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)

    @parameterized.named_parameters(
        ("grey", lambda: config.PGD("linf", 8, 7, 2), r"got 8; .* k / 255"),
        ("norm", lambda: config.PGD("l1", 0.5, 7, 0.1), "'l2' or 'linf', got 'l1'"),
        ("epsilon", lambda: config.PGD("l2", 0.0, 7, 0.1), "attack=None"),
        ("nan", lambda: config.PGD("l2", float("nan"), 7, 0.1), "finite, got nan"),
        ("steps", lambda: config.PGD("l2", 0.5, 0, 0.1), "at least 1, got 0"),
        ("half", lambda: config.PGD("l2", 0.5, 2.5, 0.1), "whole number.* got 2.5"),
        ("step", lambda: config.PGD("l2", 0.5, 7, -0.1), "positive and finite, got -0"),
        ("long", lambda: config.PGD("l2", 0.5, 7, float("inf")), "finite, got inf"),
        ("restarts", lambda: config.PGD("l2", 0.5, 7, 0.1, restarts=2), "random_start"),
        ("epochs", replaced(epochs=0), "epochs must"),
        ("batch", replaced(batch_size=0), "batch_size"),
        ("rate", replaced(learning_rate=0), "rate must"),
        ("drops", replaced(drops=(50,)), "fractions"),
        ("holdout", replaced(holdout=1.0), "holdout"),
        ("warmup", replaced(warmup=5), "warmup"),
        ("pad", replaced(pad=-1), "pad"),
        ("schedule", replaced(schedule="flat"), "'flat'"),
        ("jitter", replaced(jitter=-0.1), "jitter must be in"),
        ("rotation", replaced(rotation=float("nan")), "rotation must be in"),
        ("smoothing", replaced(label_smoothing=1.0), "label_smoothing must.* 0.1 leav"),
        ("averaging", replaced(averaging=-0.5), r"averaging must be in .* 0.99 aver"),
        (
            "smoothed",
            replaced(label_smoothing=0.2, objective=Trades()),
            r"0.2 is of the cross-entropy, and Trades\(beta=6.0\) says itself",
        ),
        ("momentum", replaced(momentum=1.0), "momentum"),
        ("decay", replaced(weight_decay=-1.0), "weight_decay"),
        ("start", lambda: Match(1, 0.1, start="blank"), "'image' or 'noise'"),
        ("copies", lambda: Match(1, 0.1, copies=0), "copies"),
        ("target", lambda: Mislabel(PUSH, "nearest"), "'nearest'"),
        ("recipe", lambda: config.Set("D_R", 3, "D"), "recipe of D_R must be callable"),
        ("radius", lambda: config.Evaluation("linf", (8,), 20), r"k / 255"),
        ("radii", lambda: config.Evaluation("l2", (1, 1), 20), "different"),
        ("crossings", lambda: config.Evaluation("l2", (1,), 5, crossings=0), "cross"),
        (
            "thorough",
            lambda: config.Evaluation("l2", (1,), 5, thorough=(2,)),
            r"some of the radii \(1,\), got \(2,\)",
        ),
        ("work", lambda: config.Work(synthesis_batch=0), "synthesis_batch"),
        ("alone", lambda: config.Work(evaluation_batch=1), "at least 2, got 1"),
        ("classes", lambda: config.Plane((3, 3), 0.5), "two different ones"),
        ("linear", lambda: config.Leakage(TRAINING, 0.5), "with an attack"),
        ("images", lambda: config.AutoAttack(images=0), "images"),
    )
    def test_refuses(self, make, message):
        with self.assertRaisesRegex(ValueError, message):
            make()

    @parameterized.named_parameters(
        ("none", dict(seeds=()), "seeds must be"),
        ("twice", dict(seeds=(1, 1)), "different"),
        # JAX keeps the lower 32 bits: these would be seeds 0 and 4294967295.
        ("large", dict(seeds=(2**32,)), "2\\*\\*32 - 1"),
        ("negative", dict(seeds=(-1,)), "2\\*\\*32 - 1"),
        ("half", dict(seeds=(0.5,)), "whole numbers"),
        ("word", dict(seeds=("0",)), "whole numbers"),
        ("storage", dict(storage="uint8"), "8 bits would lose"),
        ("precision", dict(precision="float16"), "'bfloat16', got 'float16'; networks"),
        ("network", dict(network="resnet50"), r"build\(num_classes\), got 'resnet50'"),
        ("networks", dict(networks={}), "one training at least"),
        (
            "source",
            dict(sets=(config.Set("D_R", Match(1, 0.1), "robot"),)),
            "D_R is made with 'robot', which is not there",
        ),
        (
            "name",
            dict(sets=(config.Set("robust", Match(1, 0.1), "robust"),)),
            "'robust' is there already",
        ),
    )
    def test_experiment_refuses(self, change, message):
        with self.assertRaisesRegex(ValueError, message):
            dataclasses.replace(options.load("digits"), **change)

    def test_the_reported_radius_is_nearest_to_half_that_of_training(self):
        digits = options.load("digits")
        self.assertEqual(digits.reported_epsilon, 0.5)
        far = dataclasses.replace(digits.evaluation, epsilons=(0.1, 2.0))
        self.assertEqual(
            dataclasses.replace(digits, evaluation=far).reported_epsilon, 0.1
        )
        none = dataclasses.replace(digits.evaluation, epsilons=())
        self.assertIsNone(dataclasses.replace(digits, evaluation=none).reported_epsilon)

    @parameterized.named_parameters(
        ("mean", dict(mean=(1.0, 2.0, 3.0)), "must be pairs"),
        ("variances", dict(variances=(1.0, 0.0)), "variances must be positive"),
        ("penalty", dict(penalty=2.0), "above 1 / 0.3, .* got 2.0"),
        ("panels", dict(panels=(-1.0,)), "radii must not be negative"),
        ("pgd", dict(pgd=((0, 0.1),)), "at least one step"),
        ("samples", dict(fit_samples=2), "8 or more"),
        ("dimensions", dict(dimensions=(2, 5000)), "2 to 3999"),
        ("spectrum", dict(spectrum=(1.0, 2.0)), "three variances"),
        ("precision", dict(precision="double"), "got 'double'"),
        ("axes", dict(ellipses=dict(axes=(0.3, 0.1))), r"lie in \[0, 1\]"),
        ("attack", dict(ellipses=dict(robust=TRAINING)), "attack in robust"),
    )
    def test_theory_refuses(self, change, message):
        gaussian = options.load("gaussian")
        with self.assertRaisesRegex(ValueError, message):
            if "ellipses" in change:
                of = dataclasses.replace(gaussian.ellipses, **change["ellipses"])
                change = {"ellipses": of}
            dataclasses.replace(gaussian, **change)

    @parameterized.parameters(
        ("cosine", [0.0, 1.0, 0.0]),
        ("triangle", [0.0, 1.0, 0.0]),
        ("steps", [1.0, 1.0, 0.01]),
    )
    def test_schedules(self, schedule, expected):
        settings = dataclasses.replace(
            TRAINING, schedule=schedule, learning_rate=1.0, weight_decay=0.3
        )
        given = build.schedule(settings, 101)
        for step, rate in zip((0, 10, 100), expected, strict=True):
            self.assertAlmostEqual(given["rate"][step], rate, delta=0.02)
        np.testing.assert_array_equal(given["weight_decay"], np.float32(0.3))

    @parameterized.parameters(True, False)
    def test_momentum_by_hand(self, nesterov):
        import jax.numpy as jnp

        settings = dataclasses.replace(
            TRAINING, schedule="steps", learning_rate=0.1, drops=(), nesterov=nesterov
        )
        settings = dataclasses.replace(settings, momentum=0.9, weight_decay=0.5)
        chain = build.optimizer(settings)
        given = {k: v[0] for k, v in build.schedule(settings, 10).items()}
        w, velocity = jnp.float32(2), 0.0
        state = chain.init(w)
        for gradient in (1.0, -3.0, 0.5):
            total = gradient + 0.5 * float(w)
            velocity = 0.9 * velocity + total
            move = total + 0.9 * velocity if nesterov else velocity
            update, state = chain.update(jnp.float32(gradient), state, w, **given)
            self.assertAlmostEqual(float(update), -0.1 * move, places=5)
            w = w + update


class BuilderTest(parameterized.TestCase):
    def test_what_programs_cannot_be_looked_up_by_is_refused(self):
        @dataclasses.dataclass
        class Changing:
            def build(self, num_classes):
                return num_classes

        with self.assertRaisesRegex(ValueError, r"@dataclass\(frozen=True\), with a m"):
            tiny(network=Changing())


class NamesTest(parameterized.TestCase):
    """Of networks and sets: what is made of what, and is there by then."""

    @parameterized.named_parameters(
        ("source", Set("D_x", Match(1, 1), "robots"), "with 'robots', .*D_R.*robust"),
        ("of", Set("D_x", Match(1, 1), "robust", of="D_y"), "made of 'D_y', which"),
        ("network", Set("D_x", Match(1, 1), "robust", of="standard"), "of 'standard'"),
        ("itself", Set("D_x", Match(1, 1), "D_x"), "made with 'D_x', which is not"),
        ("set", Set("D_R", Match(1, 1), "robust"), "'D_R' is there already"),
        ("data", Set("test", Match(1, 1), "robust"), "'test' is there already"),
        ("on", Set("D_x", Match(1, 1), "robust", TRAINING), "'on_D_x' is there"),
        ("folder", Set("D/x", Match(1, 1), "robust"), "'D/x' is no name for a folder"),
        # Networks of the controls come later.
        ("later", Set("D_x", Match(1, 1), "labeller"), "with 'labeller', which is not"),
    )
    def test_wrong_ones_are_refused(self, one, message):
        networks = {**tiny().networks, "on_D_x": TRAINING}
        with self.assertRaisesRegex(ValueError, message):
            tiny(
                networks=networks,
                sets=(*tiny().sets, one),
                controls=helpers.controls(),
            )

    def test_sets_may_be_made_of_earlier_ones_and_with_networks_on_them(self):
        again = Set("D_RR", Match(1, 1), "robust", of="D_R")
        taught = Set("D_x", Match(1, 1), "on_D_R", of="test")
        controls = config.Controls(sets=(taught,))
        made = tiny(sets=(*tiny().sets, again), controls=controls)
        self.assertEqual([one.name for one in made.all_sets[-2:]], ["D_RR", "D_x"])
