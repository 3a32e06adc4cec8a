"""The whole job on few images: what is saved, resumed, refused and repeated."""

import dataclasses
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import tensorflow_datasets as tfds
from absl.testing import parameterized

from nrf.config import PGD, SETS, Evaluation, Features, Training
from nrf.experiments import main
from nrf.runs import formats

ROOT = Path(__file__).parent.parent
DIGITS = runpy.run_path(str(ROOT / "configs" / "digits.py"))["config"]
STAGES = (
    "standard robust D_R D_NR D_rand D_det on_D_R on_D_NR on_D_rand on_D_det "
    "score_standard score_robust score_on_D_R score_on_D_NR score_on_D_rand "
    "score_on_D_det"
).split()
FEATURES = Features("l2", 0.5, images=110, steps=2, chunk=2, batch_size=20)


def tiny(**changes):
    """Two epochs of everything on 60 digits."""
    training = Training(epochs=2, batch_size=20, learning_rate=0.05)
    matching = dataclasses.replace(DIGITS.matching, steps=3)
    mislabelling = dataclasses.replace(
        DIGITS.mislabelling, attack=PGD("l2", 1.0, steps=3, step_size=0.5)
    )
    settings = dict(
        network=dataclasses.replace(DIGITS.network, widths=(4, 5)),
        standard=training,
        robust=dataclasses.replace(training, attack=PGD("l2", 0.5, 2, 0.3)),
        matching=matching,
        mislabelling=mislabelling,
        on=dataclasses.replace(
            DIGITS.on, D_R=training, D_NR=training, D_rand=training, D_det=training
        ),
        evaluation=Evaluation("l2", (0.5,), steps=3, batch_size=20),
        features=None,
        seeds=(0,),
        train_examples=60,
        test_examples=40,
        synthesis_batch=32,
    )
    return dataclasses.replace(DIGITS, **{**settings, **changes})


class ExperimentTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.out = Path(folder.name) / "run"
        cls.heard = {}
        # Fewer of the test images are not of all classes.
        cls.config = tiny(seeds=(0, 3), test_examples=120, features=FEATURES)

        def progress(stage, examples):
            cls.heard[stage] = 0

            class Tick:
                def __enter__(self):
                    return self.hear

                def hear(self, done):
                    cls.heard[stage] += done

                def __exit__(self, *error):
                    cls.heard[stage] -= examples

            return Tick()

        cls.results = main.run(
            cls.config, cls.out, progress=progress, command="a command"
        )

    def test_a_row_for_every_network_seed_and_attack(self):
        rows = self.results["rows"]
        self.assertLen(rows, 6 * 2 * 2)
        names = {
            (r["trained_on"], r["training"], r["seed"], r["epsilon"]) for r in rows
        }
        self.assertLen(names, 24)
        for row in rows:
            self.assertEqual(row["total"], 120)
            self.assertBetween(row["correct"], 0, 120)
            attacked = row["epsilon"] > 0
            self.assertEqual(row["attack"], "pgd" if attacked else "none")
            self.assertEqual(row["norm"], "l2" if attacked else None)
            self.assertEqual(row["steps"], 3 if attacked else 0)

    def test_results_are_on_disk_with_what_they_depend_on(self):
        saved = json.loads((self.out / "results.json").read_text())
        self.assertEqual(saved["rows"], self.results["rows"])
        for name in ("config", "versions", "device", "date", "command", "classes"):
            self.assertTrue(saved[name], name)
        self.assertEqual(saved["config"]["robust"]["attack"]["epsilon"], 0.5)
        both = (*STAGES, "features_standard", "features_robust")
        stages = {f"seed{seed}/{name}" for seed in (0, 3) for name in both}
        self.assertEqual(set(saved["seconds"]), stages)
        self.assertLen(saved["history"]["seed3/on_D_rand"], 2)

    def test_every_stage_is_heard_to_its_end(self):
        self.assertLen(self.heard, 2 * (len(STAGES) + 2))
        self.assertEqual(set(self.heard.values()), {0}, self.heard)

    def test_features_of_both_networks(self):
        found = [(e["network"], e["seed"]) for e in self.results["features"]]
        both = ("standard", "robust")
        self.assertEqual(found, [(name, seed) for seed in (0, 3) for name in both])
        lines = (self.out / "features.csv").read_text().splitlines()
        self.assertLen(lines, 1 + sum(len(e["rows"]) for e in self.results["features"]))
        for entry in self.results["features"]:
            self.assertEqual(entry["images"], 110)
            self.assertLen(entry["rows"], 10 * (5 - len(entry["constant"])))
            for row in entry["rows"]:
                # No attack adds to a feature, as the image itself is in its reach.
                self.assertLessEqual(row["gamma_attacked"], row["rho"] + 1e-6)

    def test_features_need_all_classes_before_any_work(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(ValueError, "no example is of class"):
                main.run(tiny(features=FEATURES), Path(folder) / "run")
            self.assertEmpty(list(Path(folder).rglob("*.json")))

    def test_sets_are_tfds_data_sets(self):
        for name in ("D_R", "D_NR", "D_rand", "D_det"):
            builder = tfds.builder_from_directory(self.out / "seed0" / name)
            source = builder.as_data_source("train")
            made = formats.CONSTRUCTED.load(self.out / "seed0" / name)
            self.assertLen(source, 60)
            for i in (0, 17, 59):
                np.testing.assert_array_equal(source[i]["image"], made.images[i])
                self.assertEqual(source[i]["label"], made.labels[i])
                self.assertEqual(source[i]["index"], i)
            self.assertEqual(made.images.dtype, np.float32)
            if name in ("D_R", "D_NR"):
                np.testing.assert_array_equal(made.labels, made.original_labels)
            if name == "D_det":
                expected = (made.original_labels + 1) % 10
                np.testing.assert_array_equal(made.labels, expected)
            source = "robust" if name == "D_R" else "standard"
            self.assertEqual(made.provenance["source"], source)

    def test_pictures_show_the_same_images_in_every_set(self):
        with np.load(self.out / "pictures.npz") as pictures:
            np.testing.assert_array_equal(pictures["D_labels"], np.arange(10))
            moved = pictures["D_rand"] - pictures["D"]
            norms = np.linalg.norm(moved.reshape(10, -1), axis=1)
            self.assertLessEqual(norms.max(), 1 + 1e-5)
            np.testing.assert_array_equal(pictures["D_R_labels"], pictures["D_labels"])

    def test_a_second_run_makes_nothing_again(self):
        def progress(stage, examples):
            self.fail(f"{stage} is made again")

        again = main.run(self.config, self.out, progress=progress, command="a command")
        self.assertEqual(again["rows"], self.results["rows"])
        self.assertEqual(again["seconds"], self.results["seconds"])

    def test_other_settings_are_refused_by_name_and_change_nothing(self):
        config = self.config
        other = dataclasses.replace(
            config, matching=dataclasses.replace(config.matching, steps=4)
        )
        before = sorted(self.out.rglob("*"))
        with self.assertRaisesRegex(ValueError, r"D_R was made with .*steps=3.*says 4"):
            main.run(other, self.out)
        self.assertEqual(sorted(self.out.rglob("*")), before)

    def test_other_data_are_refused(self):
        config = dataclasses.replace(self.config, train_examples=80)
        with self.assertRaisesRegex(ValueError, "made from another D "):
            main.run(config, self.out)

    def test_seeds_differ(self):
        first, second = (
            formats.CONSTRUCTED.load(self.out / seed / "D_rand").labels
            for seed in ("seed0", "seed3")
        )
        self.assertTrue((first != second).any())


class OptionsTest(parameterized.TestCase):
    def run_tiny(self, **changes):
        with tempfile.TemporaryDirectory() as out:
            results = main.run(tiny(**changes), Path(out))
            made = formats.CONSTRUCTED.load(Path(out) / "seed0" / "D_R")
            trained = formats.TRAINED.load(Path(out) / "seed0" / "robust")
        return results, made, trained

    def test_holdout_noise_copies_float16_and_four_devices(self):
        config = tiny()
        results, made, trained = self.run_tiny(
            robust=dataclasses.replace(config.robust, holdout=0.3, epochs=4),
            matching=dataclasses.replace(config.matching, start="noise", copies=2),
            evaluation=dataclasses.replace(config.evaluation, restarts=2),
            storage="float16",
            devices=4,
        )
        self.assertEqual(made.images.dtype, np.float16)
        self.assertEqual(made.images.shape, (120, 8, 8, 1))
        np.testing.assert_array_equal(made.indices, np.tile(np.arange(60), 2))
        self.assertLen(trained.history, 4)
        self.assertIn("holdout_accuracy", trained.history[0])
        self.assertLen(results["rows"], 12)

    def test_cifar10_fast_takes_two_steps_of_every_stage(self):
        # Flax's BatchNorm mixes types by design.
        self.enter_context(jax.numpy_dtype_promotion("standard"))
        config = runpy.run_path(str(ROOT / "configs" / "cifar10_fast.py"))["config"]

        def two_steps(training):
            attack = training.attack
            if attack is not None:
                attack = dataclasses.replace(attack, steps=2)
            return dataclasses.replace(training, epochs=1, batch_size=8, attack=attack)

        pgd = config.mislabelling.attack
        config = dataclasses.replace(
            config,
            data="digits",
            network=dataclasses.replace(
                config.network, width=4, mean=(0.3,), std=(0.38,)
            ),
            standard=two_steps(config.standard),
            robust=two_steps(config.robust),
            matching=dataclasses.replace(config.matching, steps=2),
            mislabelling=dataclasses.replace(
                config.mislabelling, attack=dataclasses.replace(pgd, steps=2)
            ),
            on=dataclasses.replace(
                config.on,
                **{name: two_steps(getattr(config.on, name)) for name in SETS},
            ),
            evaluation=dataclasses.replace(config.evaluation, steps=2, batch_size=16),
            train_examples=16,
            test_examples=16,
            synthesis_batch=16,
        )
        with tempfile.TemporaryDirectory() as out:
            results = main.run(config, Path(out))
        self.assertLen(results["rows"], 18)
        for history in results["history"].values():
            self.assertTrue(np.isfinite(history[0]["loss"]))


class RefusalsTest(parameterized.TestCase):
    """What only the last stages would notice is refused before the first."""

    @parameterized.named_parameters(
        (
            "batch",
            "on",
            dict(D_det=Training(1, 61, 0.1)),
            "must be in 1 .. 60.* got 61",
        ),
        ("holdout", "robust", dict(holdout=0.9), "must be in 1 .. 6,.* got 20"),
        ("score", "evaluation", dict(batch_size=21), "divided over 4 devices"),
    )
    def test_batches(self, part, changes, message):
        config = tiny(devices=4)
        changed = dataclasses.replace(getattr(config, part), **changes)
        config = dataclasses.replace(config, **{part: changed})
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, message):
                main.run(config, Path(out))
            self.assertEmpty(list(Path(out).rglob("*")))


class KilledTest(parameterized.TestCase):
    def test_a_killed_run_goes_on_to_the_same_results(self):
        with tempfile.TemporaryDirectory() as folder:
            whole = main.run(tiny(), Path(folder) / "whole")
            out = Path(folder) / "killed"
            code = (
                "import sys; from pathlib import Path; sys.path.insert(0, 'tests');"
                "import conftest, main_test as t; from nrf.experiments import main;"
                f"main.run(t.tiny(), Path({str(out)!r}))"
            )
            process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
            # In the middle of the job: one set is made and the next begun.
            while not (out / "seed0" / "D_NR").exists():
                self.assertIsNone(process.poll(), "the run ended before the kill")
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            self.assertFalse((out / "results.json").exists())
            made = (out / "seed0" / "D_NR" / "manifest.json").read_bytes()
            resumed = main.run(tiny(), out)
            self.assertEqual(resumed["rows"], whole["rows"])
            self.assertEqual(resumed["history"], whole["history"])
            self.assertEqual(
                (out / "seed0" / "D_NR" / "manifest.json").read_bytes(), made
            )
            self.assertEmpty(list((out / "seed0").glob(".*")))
