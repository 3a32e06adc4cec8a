"""A plan: steps by name, what they go through, what is done, and what is refused."""

import runpy
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import helpers
from absl.testing import parameterized
from helpers import tiny

from nrf.config import Training
from nrf.experiments import main, plan

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
        with tempfile.TemporaryDirectory() as out:
            planned = {one.step: one for one in plan(tiny(), out)}
        examples = {
            "standard": 2 * 60,  # Epochs and images.
            "D_R": 60,
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
