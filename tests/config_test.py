"""Configs: every file builds, and wrong numbers are refused before any work."""

import dataclasses
import runpy
import subprocess
import sys
from pathlib import Path

from absl.testing import parameterized

from nrf import config
from nrf.experiments import build

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
TRAINING = config.Training(epochs=1, batch_size=4, learning_rate=0.1)


class ConfigTest(parameterized.TestCase):
    @parameterized.named_parameters((path.stem, path) for path in CONFIGS)
    def test_files_hold_a_config_that_programs_can_be_made_of(self, path):
        loaded = runpy.run_path(str(path))
        found = loaded["config"]
        self.assertEqual(found.name, path.stem)
        # Its header says how to run it.
        script = {
            config.Experiment: "run",
            config.Theory: "theory",
            config.Transfer: "transfer",
        }[type(found)]
        command = f"python scripts/{script}.py configs/{path.name}"
        self.assertIn(command, loaded["__doc__"])
        if script == "run":
            build.Programs(found, 10)
        if script == "transfer":
            for learner in found.learners:
                build.NetworkPrograms(learner.network, 10)

    @parameterized.parameters(
        ("small", 8),
        ("mlp", 8),
        ("resnet18", 16),
        ("resnet50", 64),
        ("vgg16", 16),
        ("inception_v3", 64),
        ("densenet121", 32),
    )
    def test_networks_have_the_widths_of_their_settings(self, name, features):
        import jax

        settings = config.Network(name, (0.5,), (0.2,), widths=(4, 8), width=2)
        model = build.network(settings, 10)
        x = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
        params = jax.eval_shape(model.init, jax.random.key(0), x)
        self.assertEqual(
            jax.eval_shape(model.apply, params, x).features.shape[1], features
        )

    def test_needs_no_jax(self):
        code = "import sys, nrf.config; sys.exit('jax' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)

    @parameterized.named_parameters(
        ("grey", lambda: config.PGD("linf", 8, 7, 2), r"got 8; .* k / 255"),
        ("norm", lambda: config.PGD("l1", 0.5, 7, 0.1), "'l2' or 'linf', got 'l1'"),
        ("epsilon", lambda: config.PGD("l2", 0.0, 7, 0.1), "attack=None"),
        ("steps", lambda: config.PGD("l2", 0.5, 0, 0.1), "at least 1, got 0"),
        ("step", lambda: config.PGD("l2", 0.5, 7, -0.1), "positive, got -0.1"),
        ("restarts", lambda: config.PGD("l2", 0.5, 7, 0.1, restarts=2), "random_start"),
        ("name", lambda: config.Network("vit", (0.5,), (0.2,)), "'vit' is none of"),
        ("std", lambda: config.Network("small", (0.5,), (0.0,)), "it divides"),
        ("widths", lambda: config.Network("small", (0,), (1,), widths=()), "positive"),
        ("dtype", lambda: config.Network("mlp", (0,), (1,), dtype="int8"), "int8"),
        ("epochs", lambda: dataclasses.replace(TRAINING, epochs=0), "epochs must"),
        ("batch", lambda: dataclasses.replace(TRAINING, batch_size=0), "batch_size"),
        ("rate", lambda: dataclasses.replace(TRAINING, learning_rate=0), "rate must"),
        ("drops", lambda: dataclasses.replace(TRAINING, drops=(50,)), "fractions"),
        ("holdout", lambda: dataclasses.replace(TRAINING, holdout=1.0), "holdout"),
        ("warmup", lambda: dataclasses.replace(TRAINING, warmup=5), "warmup"),
        ("pad", lambda: dataclasses.replace(TRAINING, pad=-1), "pad"),
        ("schedule", lambda: dataclasses.replace(TRAINING, schedule="flat"), "'flat'"),
        ("start", lambda: config.Matching(1, 0.1, start="blank"), "'image' or 'noise'"),
        ("copies", lambda: config.Matching(1, 0.1, copies=0), "copies"),
        ("radius", lambda: config.Evaluation("linf", (8,), 20), r"k / 255"),
        ("crossings", lambda: config.Evaluation("l2", (1,), 5, crossings=0), "cross"),
    )
    def test_refuses(self, make, message):
        with self.assertRaisesRegex(ValueError, message):
            make()

    def test_experiment_refuses(self):
        digits = runpy.run_path(str(CONFIGS[0].parent / "digits.py"))["config"]
        for change, message in (
            (dict(seeds=()), "seeds must be"),
            (dict(seeds=(1, 1)), "different"),
            (dict(storage="uint8"), "8 bits would lose"),
            (dict(synthesis_batch=0), "synthesis_batch"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                dataclasses.replace(digits, **change)

    @parameterized.named_parameters(
        ("mean", dict(mean=(1.0, 2.0, 3.0)), "must be pairs"),
        ("variances", dict(variances=(1.0, 0.0)), "variances must be positive"),
        ("penalty", dict(penalty=2.0), "above 1 / 0.3, .* got 2.0"),
        ("panels", dict(panels=(-1.0,)), "radii must not be negative"),
        ("pgd", dict(pgd=((0, 0.1),)), "at least one step"),
        ("samples", dict(fit_samples=2), "8 or more"),
        ("dimensions", dict(dimensions=(2, 5000)), "2 to 3999"),
        ("spectrum", dict(spectrum=(1.0, 2.0)), "three variances"),
        ("axes", dict(ellipses=dict(axes=(0.3, 0.1))), r"lie in \[0, 1\]"),
        ("attack", dict(ellipses=dict(robust=TRAINING)), "attack in robust"),
    )
    def test_theory_refuses(self, change, message):
        gaussian = runpy.run_path(str(CONFIGS[0].parent / "gaussian.py"))["config"]
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
        import jax.numpy as jnp

        settings = dataclasses.replace(
            TRAINING, schedule=schedule, learning_rate=1.0, momentum=0.0, weight_decay=0
        )
        # The rate at a step is what a gradient of one is multiplied by.
        chain = build.optimizer(settings, 100)
        params = jnp.zeros(())
        state, rates = chain.init(params), []
        for _ in range(101):
            update, state = chain.update(jnp.ones(()), state, params)
            rates.append(-float(update))
        for step, rate in zip((0, 10, 100), expected, strict=True):
            self.assertAlmostEqual(rates[step], rate, places=5)
