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
from dataclasses import replace
from pathlib import Path

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from absl.testing import parameterized
from helpers import tiny

from nrf import data, runs
from nrf.config import Training, Work
from nrf.evaluate.statistics import unpack
from nrf.experiments import main, plan
from nrf.models.airbench import whitening
from nrf.runs import store


class ExperimentTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = helpers.folder_of(cls) / "run"
        cls.heard = helpers.Recorder()
        # Fewer of the test images are not of all classes.
        cls.config = tiny(
            seeds=(0, 3),
            test_examples=120,
            evaluation=helpers.THOROUGH,
            features=helpers.FEATURES,
        )
        cls.planned = plan(cls.config, cls.out)
        cls.results = main.run(
            cls.config, cls.out, progress=cls.heard, command="a command"
        )
        cls.saved = json.loads((cls.out / "results.json").read_text())

    def test_a_row_for_every_network_seed_and_attack(self):
        rows = self.results["rows"]
        self.assertLen(rows, 6 * 2 * 2)
        self.assertLen({(r["network"], r["seed"], r["epsilon"]) for r in rows}, 24)
        for row in rows:
            self.assertEqual(row["total"], 120)
            self.assertBetween(row["correct"], 0, 120)
            attacked = row["epsilon"] > 0
            self.assertEqual(row["attack"], "pgd" if attacked else "none")
            self.assertEqual(row["norm"], "l2" if attacked else None)
            self.assertEqual(row["steps"], 3 if attacked else 0)
            robust = row["network"] == "robust"
            self.assertEqual(row["training"], "adversarial" if robust else "standard")
            on = row["network"].removeprefix("on_")
            on_D = row["network"] in ("standard", "robust")
            self.assertEqual(row["trained_on"], "D" if on_D else on)

    def test_rows_say_which_images_are_right(self):
        _, test = data.load("digits", train_examples=60, test_examples=120)
        for network in ("standard", "on_D_R"):
            clean, attacked = (
                unpack(row["right"], 120)
                for row in self.results["rows"]
                if (row["network"], row["seed"]) == (network, 3)
            )
            predicted = runs.load(self.out).network(network, seed=3)(test.images)
            expected = np.asarray(predicted.argmax(-1)) == test.labels
            np.testing.assert_array_equal(clean, expected)
            # What withstands an attack is right without it.
            self.assertFalse((attacked & ~clean).any())
        for row in self.results["rows"]:
            self.assertEqual(unpack(row["right"], 120).sum(), row["correct"])

    def test_networks_and_sets_are_told_in_the_order_of_the_config(self):
        names = [entry["name"] for entry in self.results["networks"]]
        sets = ["D_R", "D_NR", "D_rand", "D_det"]
        self.assertEqual(names, ["standard", "robust", *(f"on_{s}" for s in sets)])
        titles = [entry["title"] for entry in self.results["networks"]]
        self.assertEqual(titles, ["D, standard", "D, adversarial", *sets])
        self.assertEqual([entry["name"] for entry in self.results["sets"]], sets)
        for entry in self.results["sets"]:
            self.assertEqual((entry["group"], entry["of"]), ("main", "D"))
            source = ["robust"] if entry["name"] == "D_R" else ["standard"]
            self.assertEqual(entry["source"], source)
            self.assertTrue(entry["text"])

    def test_results_are_on_disk_with_what_they_depend_on(self):
        saved = self.saved
        self.assertEqual(saved["rows"], self.results["rows"])
        for name in ("versions", "device", "date", "classes"):
            self.assertTrue(saved[name], name)
        self.assertEqual((saved["command"], saved["data"]), ("a command", "digits"))
        self.assertEqual(saved["settings"]["jax_default_matmul_precision"], "float32")
        self.assertEqual(saved["reported_epsilon"], 0.5)
        config = saved["config"]
        self.assertEqual(config["networks"]["robust"]["attack"]["epsilon"], 0.5)
        self.assertEqual(config["network"]["kind"].rpartition(".")[2], "Small")
        self.assertEqual(config["sets"][0]["recipe"]["steps"], 3)
        both = (*helpers.STEPS, "features_standard", "features_robust")
        steps = {f"seed{seed}/{name}" for seed in (0, 3) for name in both}
        self.assertEqual(set(saved["seconds"]), steps)
        self.assertLen(saved["history"], 2 * 6)
        self.assertLen(saved["history"]["seed3/on_D_rand"], 2)
        made = [(of["seed"], of["set"]) for of in saved["constructed"]]
        sets = ("D_R", "D_NR", "D_rand", "D_det")
        self.assertEqual(made, [(seed, name) for seed in (0, 3) for name in sets])

    def test_every_step_is_heard_to_its_end(self):
        self.assertLen(self.heard.begun, 2 * (len(helpers.STEPS) + 2))
        helpers.check_planned(self, self.planned, self.heard)
        self.assertEqual(list(self.heard.ended), list(self.heard.begun))
        self.assertEmpty(self.heard.skipped)
        self.assertIn("60 images", self.heard.ended["seed3/D_det"])
        epochs = [v for step, v in self.heard.measured if step == "seed3/on_D_rand"]
        self.assertEqual(epochs, self.results["history"]["seed3/on_D_rand"])

    def test_features_of_both_networks(self):
        entries = self.results["features"]
        both = ("standard", "robust")
        self.assertEqual(
            [(e["network"], e["seed"]) for e in entries],
            [(name, seed) for seed in (0, 3) for name in both],
        )
        lines = (self.out / "features.csv").read_text().splitlines()
        self.assertLen(lines, 1 + sum(len(e["rows"]) for e in entries))
        for entry in entries:
            self.assertEqual(entry["images"], 110)
            self.assertLen(entry["rows"], 10 * (5 - len(entry["constant"])))
            for row in entry["rows"]:
                # No attack adds to a feature, as the image itself is in its reach.
                self.assertLessEqual(row["gamma_attacked"], row["rho"] + 1e-6)

    def test_sets_are_tfds_data_sets(self):
        for name in ("D_R", "D_NR", "D_rand", "D_det"):
            builder = tfds.builder_from_directory(self.out / "seed0" / name)
            source = builder.as_data_source("train")
            made = store.load(self.out / "seed0" / name)
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
            self.assertEqual(made.provenance["data"], "digits")

    def test_pictures_show_the_same_images_in_every_set(self):
        with np.load(self.out / "pictures.npz") as pictures:
            np.testing.assert_array_equal(pictures["D_labels"], np.arange(10))
            moved = pictures["D_rand"] - pictures["D"]
            norms = np.linalg.norm(moved.reshape(10, -1), axis=1)
            self.assertLessEqual(norms.max(), 1 + 1e-5)
            self.assertGreater(norms.min(), 0)
            # Three steps of 0.1 from where they start.
            for name in ("D_R", "D_NR"):
                moved = pictures[name] - pictures[f"{name}_start"]
                norms = np.linalg.norm(moved.reshape(10, -1), axis=1)
                self.assertLessEqual(norms.max(), 0.3 + 1e-5)
                self.assertGreater(norms.min(), 0)
            np.testing.assert_array_equal(pictures["D_R_labels"], pictures["D_labels"])
            for name in ("D_R", "D_NR", "D_rand", "D_det"):
                made = store.load(self.out / "seed0" / name)
                for image, label in zip(
                    pictures[name], pictures[f"{name}_labels"], strict=True
                ):
                    (at,) = np.flatnonzero((made.images == image).all((1, 2, 3)))
                    self.assertEqual(label, made.labels[at])

    def test_a_second_run_makes_nothing_again(self):
        heard = helpers.Recorder()
        again = main.run(self.config, self.out, progress=heard, command="a command")
        self.assertEmpty(heard.begun)
        self.assertEqual(heard.skipped, list(self.heard.begun))
        for part in ("rows", "seconds", "features", "constructed", "history"):
            self.assertEqual(again[part], self.results[part])

    def test_other_settings_are_refused_by_name_and_change_nothing(self):
        D_R, *others = self.config.sets
        slower = replace(D_R, recipe=replace(D_R.recipe, steps=4))
        before = sorted(self.out.rglob("*"))
        with self.assertRaisesRegex(
            ValueError, r"D_R was made with recipe.steps=3; this run asks for 4"
        ):
            main.run(replace(self.config, sets=(slower, *others)), self.out)
        self.assertEqual(sorted(self.out.rglob("*")), before)

    def test_a_name_is_no_config(self):
        with self.assertRaisesRegex(ValueError, r"options.load\('digits'\), got 'phot"):
            main.run("photos", self.out)

    def test_other_data_are_refused(self):
        with self.assertRaisesRegex(ValueError, "made from another D "):
            main.run(replace(self.config, train_examples=80), self.out)

    def test_another_device_count_and_other_batches_make_nothing_again(self):
        heard = helpers.Recorder()
        work = Work(devices=1, synthesis_batch=7, evaluation_batch=9, feature_batch=3)
        main.run(replace(self.config, work=work), self.out, progress=heard)
        self.assertEmpty(heard.begun)

    def test_a_set_more_makes_only_what_is_new(self):
        D_R, *others = self.config.sets
        more = replace(D_R, name="D_R_more", recipe=replace(D_R.recipe, steps=2))
        heard = helpers.Recorder()
        with tempfile.TemporaryDirectory() as out:
            config = replace(self.config, seeds=(3,), sets=(more, D_R, *others))
            results = main.run(config, out, progress=heard, reuse=[self.out])
            self.assertNotEmpty(list(Path(out).rglob("seed3/D_R_more/*.json")))
        new = "D_R_more on_D_R_more score_on_D_R_more_clean score_on_D_R_more_l2_0.5"
        self.assertEqual(list(heard.begun), [f"seed3/{name}" for name in new.split()])
        self.assertEqual(results["networks"][2]["name"], "on_D_R_more")
        old = [row for row in self.results["rows"] if row["seed"] == 3]
        self.assertEqual([r for r in results["rows"] if r in old], old)

    def test_all_radii_draw_the_same_random_numbers(self):
        file = self.out / "seed0" / "score_on_D_R_l2_0.5" / "manifest.json"
        about = json.loads(file.read_text())["about"]
        self.assertEqual(about["draws"], "score_on_D_R")

    def test_seeds_differ(self):
        first, second = (
            store.load(self.out / seed / "D_rand").labels for seed in ("seed0", "seed3")
        )
        self.assertTrue((first != second).any())


class OptionsTest(parameterized.TestCase):
    def test_holdout_noise_copies_float16_and_four_devices(self):
        config = tiny()
        D_R, D_NR, *others = config.sets
        noise = replace(D_R.recipe, start="noise", copies=2)
        robust = replace(config.networks["robust"], holdout=0.3, epochs=4)
        config = replace(
            config,
            networks={**config.networks, "robust": robust},
            sets=(replace(D_R, recipe=noise), replace(D_NR, recipe=noise), *others),
            evaluation=replace(config.evaluation, restarts=2),
            storage="float16",
            work=replace(config.work, devices=4),
        )
        with tempfile.TemporaryDirectory() as out:
            results = main.run(config, out)
            made = store.load(Path(out) / "seed0" / "D_R")
            trained = store.load(Path(out) / "seed0" / "robust")
        self.assertEqual(made.images.dtype, np.float16)
        self.assertEqual(made.images.shape, (120, 8, 8, 1))
        np.testing.assert_array_equal(made.indices, np.tile(np.arange(60), 2))
        self.assertLen(trained.history, 4)
        self.assertIn("holdout_accuracy", trained.history[0])
        self.assertLen(results["rows"], 12)

    def test_cifar10_minute_takes_two_steps_of_everything(self):
        # Flax's BatchNorm mixes types by design.
        self.enter_context(jax.numpy_dtype_promotion("standard"))
        path = helpers.ROOT / "configs" / "cifar10_minute.py"
        config = runpy.run_path(str(path))["config"]

        def short(settings):
            """The same with two steps of every attack, and one short epoch."""
            changes = {}
            for field in dataclasses.fields(settings):
                value = getattr(settings, field.name)
                if field.name == "steps":
                    changes[field.name] = 2
                elif field.name in ("attack", "recipe", "train") and value is not None:
                    changes[field.name] = short(value)
            if isinstance(settings, Training):
                # One rate for all: trainings that differ by numbers are one program.
                changes |= dict(epochs=1, batch_size=8, learning_rate=0.1)
            return replace(settings, **changes)

        config = replace(
            config,
            data="digits",
            network=replace(config.network, widths=(4, 4), mean=(0.3,), std=(0.38,)),
            networks={name: short(one) for name, one in config.networks.items()},
            sets=tuple(map(short, config.sets)),
            evaluation=replace(config.evaluation, steps=2),
            train_examples=16,
            test_examples=16,
            work=Work(evaluation_batch=16, synthesis_batch=16),
        )
        with tempfile.TemporaryDirectory() as out:
            results = main.run(config, out)
            params = store.load(Path(out) / "seed0" / "on_D_R").params
            seen = np.asarray(store.load(Path(out) / "seed0" / "D_R").images)
        self.assertLen(results["rows"], 18)
        for history in results["history"].values():
            self.assertTrue(np.isfinite(history[0]["loss"]))
        # The first layer is of the images that are learned.
        expected = whitening(((seen - 0.3) / 0.38).astype(jnp.bfloat16))
        filters = params["whitening"]["filters"]
        np.testing.assert_allclose(filters, expected, rtol=0.01, atol=0.01)


class KilledTest(parameterized.TestCase):
    def test_a_killed_run_goes_on_to_the_same_results(self):
        with tempfile.TemporaryDirectory() as folder:
            config = tiny(sets=tiny().sets[:2])
            whole = main.run(config, Path(folder) / "whole")
            out = Path(folder) / "killed"
            code = (
                "import sys; sys.path.insert(0, 'tests'); import conftest, helpers;"
                "from nrf.experiments import main; tiny = helpers.tiny;"
                f"main.run(tiny(sets=tiny().sets[:2]), {str(out)!r})"
            )
            process = subprocess.Popen([sys.executable, "-c", code], cwd=helpers.ROOT)
            # In the middle of the job: one set is made and the next begun.
            while not (out / "seed0" / "D_NR").exists():
                self.assertIsNone(process.poll(), "the run ended before the kill")
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            self.assertFalse((out / "results.json").exists())
            manifest = out / "seed0" / "D_NR" / "manifest.json"
            made = manifest.read_bytes()
            resumed = main.run(config, out)
            self.assertEqual(resumed["rows"], whole["rows"])
            self.assertEqual(resumed["history"], whole["history"])
            self.assertEqual(manifest.read_bytes(), made)
            self.assertEmpty(list((out / "seed0").glob(".*")))
