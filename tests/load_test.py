"""A finished run as its user reads it, and parts of it that are the user's own."""

import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import helpers
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from helpers import TRAINING, tiny

from nrf import data, losses, models, runs
from nrf.config import Experiment, Set
from nrf.experiments import constructed, main
from nrf.models import Small
from nrf.types import Model


@dataclass(frozen=True)
class Pooled:
    """A network of somebody's own: plain logits, from means of 2 x 2 pixels."""

    scale: tuple[float, ...] = (1.0,)

    def build(self, num_classes: int) -> Model:
        def apply(params, x):
            means = x.reshape(len(x), 4, 2, 4, 2, 1).mean((2, 4)).reshape(len(x), 16)
            return self.scale[0] * means @ params["w"] + params["b"][None]

        start = {"w": jnp.zeros((16, num_classes)), "b": jnp.zeros(num_classes)}
        return models.function(apply, start)


@dataclass(frozen=True)
class Inverted:
    """Every image with white for black."""

    of: float = 1.0

    def __call__(self, key, dataset, source, *, env):
        env.tick(len(dataset.labels))
        right = np.asarray(source(dataset.images).argmax(-1)) == dataset.labels
        images = self.of - dataset.images
        return constructed(dataset, images, dataset.labels, right=right.mean())


def own() -> Experiment:
    """An experiment whose network, loss and set are no part of the package."""
    attack = replace(tiny().networks["robust"].attack, random_start=True)
    trades = losses.Trades(beta=2.0)
    return tiny(
        network=Pooled((4.0,)),
        networks={
            "standard": TRAINING,
            "smooth": replace(TRAINING, attack=attack, objective=trades),
        },
        sets=(
            Set("D_inverted", Inverted(), "standard", TRAINING, text="Black is white."),
        ),
    )


@dataclass(frozen=True)
class Plain:
    """Somebody's model, whose functions give logits and nothing else."""

    of: Small = Small((0.3,), (0.38,), widths=(4, 5))

    def build(self, num_classes):
        full = self.of.build(num_classes)

        def train(params, x):
            output, params = full.train(params, x)
            return output.logits, params

        return Model(full.init, lambda params, x: full.apply(params, x).logits, train)


class LoadTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = helpers.folder_of(cls) / "run"
        sets = tiny().sets[2:]
        cls.config = tiny(seeds=(3, 0), sets=sets)
        cls.results = main.run(cls.config, cls.out)
        cls.loaded = runs.load(cls.out)
        _, cls.test_set = data.load("digits", test_examples=40)

    def test_networks_predict_what_their_rows_count(self):
        for row in self.loaded.rows:
            if row["attack"] == "none":
                network = self.loaded.network(row["network"], seed=row["seed"])
                logits = network(self.test_set.images)
                self.assertEqual(logits.shape, (40, 10))
                right = np.asarray(logits.argmax(-1)) == self.test_set.labels
                self.assertEqual(right.sum(), row["correct"])

    def test_the_first_seed_is_the_default(self):
        self.assertEqual(self.loaded.seeds, (3, 0))
        made = self.loaded.set("D_rand")
        same = self.loaded.set("D_rand", seed=3)
        np.testing.assert_array_equal(made.images, same.images)
        self.assertTrue((made.labels != self.loaded.set("D_rand", seed=0).labels).any())

    def test_rows_history_and_pictures(self):
        self.assertEqual(self.loaded.rows, self.results["rows"])
        self.assertLen(self.loaded.history["seed0/on_D_det"], 2)
        pictures = self.loaded.pictures
        self.assertEqual(pictures["D"].shape, (10, 8, 8, 1))
        np.testing.assert_array_equal(
            pictures["D_det_labels"], (pictures["D_labels"] + 1) % 10
        )

    def test_another_architecture_may_be_given(self):
        other = replace(self.config.network, mean=(0.1,))
        network = self.loaded.network("standard", architecture=other)
        mine = self.loaded.network("standard")
        x = self.test_set.images
        self.assertFalse(np.allclose(network(x), mine(x)))

    def test_what_is_not_there_is_told_in_words(self):
        with self.assertRaisesRegex(
            ValueError, r"no \S+/seed3/on_D_R; beside it: D_det, D_rand, on_D_det, "
        ):
            self.loaded.network("on_D_R")
        with self.assertRaisesRegex(ValueError, "seed7/D_det; beside it: nothing"):
            self.loaded.set("D_det", seed=7)
        with self.assertRaisesRegex(ValueError, "D_det is no network; run.set reads"):
            self.loaded.network("D_det")
        with self.assertRaisesRegex(ValueError, "standard is no data set; run.netw"):
            self.loaded.set("standard")
        with self.assertRaisesRegex(ValueError, "is no data set"):
            self.loaded.set("score_standard_clean")

    def test_damaged_or_missing_results_are_told_in_words(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            shutil.copytree(self.out, out)
            (out / "seed0" / "D_det" / "dataset_info.json").write_text("{}")
            with self.assertRaisesRegex(ValueError, "dataset_info.json is damaged"):
                runs.load(out).set("D_det", seed=0)
            (out / "pictures.npz").unlink()
            with self.assertRaisesRegex(ValueError, "no .*pictures.npz; the same"):
                _ = runs.load(out).pictures
            (out / "results.json").write_text("{")
            with self.assertRaisesRegex(ValueError, "results.json is not JSON"):
                runs.load(out)
            (out / "results.json").write_text("[]")
            with self.assertRaisesRegex(ValueError, "results.json is no"):
                runs.load(out)
            (out / "results.json").unlink()
            with self.assertRaisesRegex(
                ValueError, "holds no results of a run.*stopped"
            ):
                runs.load(out)
            with self.assertRaisesRegex(ValueError, "no folder"):
                runs.load(out / "nowhere")

    def test_an_architecture_that_is_gone(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            shutil.copytree(self.out, out)
            file = out / "seed3" / "standard" / "manifest.json"
            said = json.loads(file.read_text())
            for kind in ("nrf.models.architectures.Smell", "nowhere.Small"):
                said["about"]["settings"]["network"]["kind"] = kind
                file.write_text(json.dumps(said))
                with self.assertRaisesRegex(
                    ValueError, f"{kind} can not be imported; give it"
                ):
                    runs.load(out).network("standard")
            network = runs.load(out).network(
                "standard", architecture=Small((0.3,), (0.38,), widths=(4, 5))
            )
            self.assertEqual(network(self.test_set.images).shape, (40, 10))

    def test_a_run_of_the_theory_says_what_it_lacks(self):
        with tempfile.TemporaryDirectory() as out:
            Path(out, "theory.json").write_text('{"config": {"seed": 3}}')
            theory = runs.load(out)
            self.assertEqual(theory.seeds, (3,))
            for read in (
                lambda: theory.rows,
                lambda: theory.history,
                lambda: theory.network("standard"),
            ):
                with self.assertRaisesRegex(ValueError, "theory.json has no .*results"):
                    read()


class OwnPartsTest(parameterized.TestCase):
    """A network, an objective and a set that the package does not know."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = helpers.folder_of(cls) / "run"
        cls.heard = helpers.Recorder()
        cls.results = main.run(own(), cls.out, progress=cls.heard)
        cls.loaded = runs.load(cls.out)

    def test_they_have_rows_names_and_texts(self):
        names = ["standard", "smooth", "on_D_inverted"]
        self.assertEqual([e["name"] for e in self.results["networks"]], names)
        self.assertLen(self.results["rows"], 2 * 3)
        titles = [e["title"] for e in self.results["networks"]]
        self.assertEqual(titles, ["D, standard", "D, smooth", "D_inverted"])
        (entry,) = self.results["sets"]
        self.assertEqual(entry["text"], "Black is white.")
        self.assertEqual(entry["source"], ["standard"])
        # A recipe that does not say what it costs.
        self.assertIsNone(self.heard.begun["seed0/D_inverted"])
        self.assertEqual(self.heard.advanced["seed0/D_inverted"], 60)

    def test_they_are_made_and_loaded(self):
        train, _ = data.load("digits", train_examples=60)
        made = self.loaded.set("D_inverted")
        np.testing.assert_allclose(made.images, 1 - train.images, atol=1e-7)
        logits = self.loaded.network("standard")(train.images)
        right = (np.asarray(logits.argmax(-1)) == train.labels).mean()
        self.assertAlmostEqual(made.provenance["right"], right)
        self.assertIn("Inverted", made.provenance["settings"]["kind"])
        self.assertIn("source", made.provenance["settings"])
        shown = self.loaded.pictures
        np.testing.assert_allclose(shown["D_inverted"], 1 - shown["D"], atol=1e-7)

    def test_objectives_are_part_of_the_manifest(self):
        networks = {
            name: replace(one, objective=losses.Trades(beta=3.0))
            if name == "smooth"
            else one
            for name, one in own().networks.items()
        }
        with self.assertRaisesRegex(ValueError, "objective.beta=2.0; .* asks for 3.0"):
            main.run(replace(own(), networks=networks), self.out)

    @parameterized.named_parameters(
        ("pixels", Inverted(of=2.0), r"must lie in \[0, 1\]"),
        ("kind", lambda key, dataset, source, *, env: dataset, "must return a Constr"),
    )
    def test_what_recipes_may_not_return(self, recipe, message):
        sets = (Set("D_x", recipe, "standard"),)
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, message):
                main.run(tiny(networks={"standard": TRAINING}, sets=sets), out)

    @parameterized.named_parameters(
        ("argument", lambda key, dataset, *, env: None, "too many positional"),
        ("env", lambda key, dataset, source: None, "unexpected keyword argument 'env'"),
    )
    def test_recipes_that_cannot_be_called_are_refused_at_once(self, recipe, message):
        with self.assertRaisesRegex(
            ValueError, f"recipe of D_x is called as .*{message}"
        ):
            Set("D_x", recipe, "standard")

    def test_data_and_parameters_of_their_own(self):
        train, test = data.load("digits", train_examples=60, test_examples=40)
        params = self.loaded.network("smooth").params
        heard = helpers.Recorder()
        with tempfile.TemporaryDirectory() as out:
            results = main.run(
                own(),
                out,
                data=(train, test),
                sources={"smooth": params},
                progress=heard,
            )
            self.assertFalse((Path(out) / "seed0" / "smooth").exists())
        self.assertEqual(results["data"], "arrays")
        self.assertNotIn("seed0/smooth", heard.begun)
        counts = [row["correct"] for row in results["rows"]]
        self.assertEqual(counts, [row["correct"] for row in self.results["rows"]])

    def test_a_model_may_return_plain_logits(self):
        changes = dict(network=Plain(), sets=own().sets[:0])
        with tempfile.TemporaryDirectory() as out:
            plain = main.run(replace(own(), **changes), Path(out, "run"))
            said = runs.load(Path(out, "run")).network("standard")
            train, _ = data.load("digits", train_examples=60)
            self.assertEqual(said(train.images).shape, (60, 10))
            changes["network"] = Plain().of
            full = main.run(replace(own(), **changes), Path(out, "full"))
        for one, other in zip(plain["rows"], full["rows"], strict=True):
            self.assertEqual(one["correct"], other["correct"])
