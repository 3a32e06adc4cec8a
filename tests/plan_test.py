"""A plan: steps by name, what they go through, what is done, and what is refused."""

import runpy
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import helpers
import jax
import numpy as np
from absl.testing import parameterized
from helpers import tiny

from nrf.config import Evaluation, Training
from nrf.experiments import main, plan
from nrf.models import MLP, ResNet18

GAUSSIAN = runpy.run_path(str(helpers.ROOT / "configs" / "gaussian.py"))["config"]


class PlanTest(parameterized.TestCase):
    """That a plan equals the run is tested where runs are, with `helpers.planned`."""

    def test_of_the_theory(self):
        with tempfile.TemporaryDirectory() as out:
            planned = plan(GAUSSIAN, out)
            self.assertEmpty(list(Path(out).rglob("*.json")))
        names = (
            "standard score_standard adversarial score_adversarial figure curve fits "
            "dimensions vulnerability alignment tradeoff"
        ).split()
        self.assertCountEqual(
            [one.step for one in planned], [f"seed0/{n}" for n in names]
        )
        self.assertEqual({one.done for one in planned}, {False})

    def test_examples_and_seconds(self):
        D_R, *others = tiny().sets
        twice = replace(D_R, recipe=replace(D_R.recipe, copies=2))
        with tempfile.TemporaryDirectory() as out:
            steps = plan(tiny(sets=(twice, *others)), out)
            planned = {one.step: one for one in steps}
        examples = {
            "standard": 2 * 60,  # Epochs and images.
            "D_R": 2 * 60,
            "on_D_R": 2 * 2 * 60,
            "on_D_det": 2 * 60,
            "score_robust_clean": 40,
        }
        for name, count in examples.items():
            self.assertEqual(planned[f"seed0/{name}"].examples, count)
        seconds = {name: one.seconds for name, one in planned.items()}
        self.assertGreater(min(seconds.values()), 0)
        # Two steps of the attack before the update.
        ratio = seconds["seed0/robust"] / seconds["seed0/standard"]
        self.assertAlmostEqual(ratio, 3, places=5)

    def plan(self, config, **options):
        with tempfile.TemporaryDirectory() as out:
            planned = plan(config, out, **options)
        return {one.step.removeprefix("seed0/"): one for one in planned}

    def test_operations_and_traffic_are_those_of_the_layers(self):
        """Counted by hand; XLA has what is elementwise too, and the loss."""
        network = MLP((0.3,), (0.38,), widths=(64,))
        planned = self.plan(tiny(network=network), device="a100")
        # A product forward, and one back for each of its factors that is asked for.
        first, second = 2 * 64 * 64, 2 * 64 * 10
        there, back = 64 + 64, 64 + 10
        weights = (64 * 64 + 64 * 10) / 256
        for name, passes, operations, numbers in (
            ("D_R", 60 * 3, 2 * first + 2 * second, 2 * (there + back + weights)),
            ("standard", 120, 2 * first + 3 * second, 2 * there + 3 * back),
        ):
            one = planned[name]
            self.assertBetween(one.operations / passes / operations, 1, 1.1)
            self.assertBetween(one.moved / passes / (2 * 4 * numbers), 1, 1.3)

    @parameterized.parameters(
        ("a100", "float32", 19.5), ("h100", "bfloat16", 989.4), ("v5e", "float32", 32.8)
    )
    def test_predictions_are_the_slower_of_two(self, device, precision, rate):
        """By makers' numbers and the shares that the module says."""
        bandwidth = {"a100": 2.039, "h100": 3.35, "v5e": 0.819}[device]
        wide = MLP((0.3,), (0.38,), widths=(2048, 2048))
        for network in (MLP((0.3,), (0.38,), widths=(8,)), wide):
            config = tiny(network=network, precision=precision)
            one = self.plan(config, device=device)["D_R"]
            computing = one.operations / (0.36e12 * rate)
            moving = one.moved / (0.70e12 * bandwidth)
            # In half precision no product of so few images is worth its weights.
            full = precision == "float32"
            self.assertEqual(computing > moving, full and network is wide)
            np.testing.assert_allclose(one.seconds, max(computing, moving), rtol=2e-3)

    def test_networks_in_half_precision_are_as_fast_as_that(self):
        # Flax's BatchNorm mixes types by design.
        self.enter_context(jax.numpy_dtype_promotion("standard"))

        def at(dtype):
            network = ResNet18((0.3,), (0.38,), width=64, dtype=dtype)
            config = tiny(network=network, precision="float32", sets=tiny().sets[:1])
            return self.plan(config, device="h100")["D_R"]

        whole, half = at("float32"), at("bfloat16")
        self.assertAlmostEqual(whole.operations / half.operations, 1, places=2)
        self.assertAlmostEqual(whole.moved / half.moved, 2, delta=0.1)
        self.assertGreater(whole.seconds / half.seconds, 4)

    def test_radii_that_are_not_thorough_take_less(self):
        radii = Evaluation("l2", (0.25, 0.5), steps=3, thorough=(0.5,))
        planned = self.plan(tiny(evaluation=radii), device="h100")
        passes = [planned[f"score_robust_l2_{e}"].examples for e in (0.25, 0.5)]
        # The attack; at a large radius, by Square, and with more steps.
        self.assertEqual(passes, [40, 4 * 40])

    def test_refuses_unknown_devices(self):
        with self.assertRaisesRegex(ValueError, "one of a100, h100, .*got 'b100'"):
            self.plan(tiny(), device="b100")

    def test_what_a_run_has_is_done(self):
        config = tiny(seeds=(0, 1))
        with tempfile.TemporaryDirectory() as out:
            main.run(tiny(), out)
            self.check_reuse(Path(out))
            self.check_refusal(Path(out))
            # Scores of a new radius are made beside the old ones.
            radii = replace(tiny().evaluation, epsilons=(0.25, 0.5))
            left = [
                one.step for one in plan(tiny(evaluation=radii), out) if not one.done
            ]
            new = [n.replace("0.5", "0.25") for n in helpers.STEPS if "0.5" in n]
            self.assertEqual(left, [f"seed0/{name}" for name in new])
            shutil.rmtree(Path(out) / "seed0" / "on_D_R")
            planned = plan(config, out)
        done = [one.step for one in planned if not one.done]
        self.assertEqual(
            done, ["seed0/on_D_R", *(f"seed1/{name}" for name in helpers.STEPS)]
        )

    def check_reuse(self, out):
        """What another run has of the same is done; what follows from it, too."""
        other = out / "other"
        D_R, *others = tiny().sets
        changed = replace(D_R, recipe=replace(D_R.recipe, steps=4))
        planned = plan(tiny(sets=(changed, *others)), other, reuse=[out])
        left = [one.step for one in planned if not one.done]
        names = "D_R", "on_D_R", "score_on_D_R_clean", "score_on_D_R_l2_0.5"
        self.assertEqual(left, [f"seed0/{name}" for name in names])
        self.assertFalse(other.exists())

    def check_refusal(self, out):
        """Other settings are refused before any work, by the run as by its plan."""
        D_R, *others = tiny().sets
        changed = replace(D_R, recipe=replace(D_R.recipe, steps=4))
        config = tiny(sets=(changed, *others), seeds=(1, 0))
        for door in (main.run, plan):
            words = "seed0/D_R was made with recipe.steps=3; this run asks for 4"
            with self.assertRaisesRegex(ValueError, words):
                door(config, out)
            self.assertFalse((out / "seed1").exists())

    def test_refuses_another_kind_of_run_for_the_theory(self):
        with tempfile.TemporaryDirectory() as out:
            (Path(out) / "results.json").write_text("{}")
            with self.assertRaisesRegex(ValueError, "holds another kind of run"):
                plan(GAUSSIAN, out)

    @parameterized.named_parameters(
        ("main", dict(networks={"standard": Training(1, 61, 0.1)}, sets=()), "61"),
        ("data", dict(data="digit"), "digit"),
    )
    def test_refuses_what_the_run_refuses(self, changes, message):
        with tempfile.TemporaryDirectory() as out:
            out = Path(out) / "run"
            for door in (plan, main.run):
                with self.assertRaisesRegex(ValueError, message):
                    door(tiny(**changes), out)
            self.assertFalse(out.exists())
