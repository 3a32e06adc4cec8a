"""What only the last steps would notice is refused before the first."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import helpers
import jax
import numpy as np
from absl.testing import parameterized
from helpers import TRAINING, tiny, tiny_transfer

from nrf import data, devices, models
from nrf.config import Plane, Set, Training, options
from nrf.experiments import Match, constructed, main, prepare, transfer
from nrf.types import Model


@dataclass(frozen=True)
class Deaf:
    """A network of ten classes, however many there are."""

    def build(self, num_classes: int) -> Model:
        return models.MLP((0.5,), (0.2,)).build(10)


@dataclass(frozen=True)
class NoModel:
    def build(self, num_classes: int) -> Callable:
        return lambda params, x: x


def invented(key, dataset, *, env):
    return constructed(dataset, dataset.images, dataset.labels)


def recipes(recipe):
    """The same experiment, with other recipes of D_R and D_NR."""
    D_R, D_NR, *others = tiny().sets
    return replace(D_R, recipe=recipe), replace(D_NR, recipe=recipe), *others


class RefusalsTest(parameterized.TestCase):
    def refused(self, config, message, **options):
        with tempfile.TemporaryDirectory() as out:
            with self.assertRaisesRegex(ValueError, message):
                main.run(config, out, **options)
            self.assertEmpty(list(Path(out).rglob("*")))

    def test_batches_of_a_fresh_network(self):
        *sets, D_det = tiny().sets
        sets = (*sets, replace(D_det, train=Training(1, 61, 0.1)))
        self.refused(tiny(sets=sets), "must be in 1 .. 60.* got 61")

    def test_batches_of_what_a_holdout_leaves(self):
        robust = replace(TRAINING, holdout=0.9)
        networks = {"standard": TRAINING, "robust": robust}
        self.refused(tiny(networks=networks), "must be in 1 .. 6,.* got 20")

    @parameterized.parameters(
        *"cifar10 cifar10_fast cifar10_full cifar10_minute cifar10_small digits photos "
        "photos_full planted transfer transfer_small".split()
    )
    def test_configs_start_on_eight_devices(self, name):
        config = replace(options.load(name), train_examples=None, test_examples=None)
        module = transfer if "transfer" in name else prepare
        images = np.zeros((2000, 4, 4, 3), np.float32)
        labels = np.random.default_rng(0).integers(10, size=2000)
        eight = mock.Mock(size=8)
        out = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(devices, "make_mesh", return_value=eight))
        self.enterContext(mock.patch.object(module, "check_network"))
        second = mock.Mock(side_effect=lambda name, like, **options: like)
        self.enterContext(mock.patch.object(data, "load_test", second))
        module.prepare(config, out, 2 * ((images, labels),))

    def test_trainings_that_devices_of_two_processes_cannot_divide(self):
        self.enterContext(mock.patch.object(jax, "process_count", return_value=2))
        work = replace(tiny().work, devices=4)
        networks = {"standard": replace(TRAINING, batch_size=21)}
        sets = (Set("D_x", invented, (), replace(TRAINING, batch_size=18)),)
        self.refused(
            tiny(work=work, networks=networks, sets=()), "21 cannot be divided over 4"
        )
        self.refused(tiny(work=work, sets=sets), "18 cannot be divided over 4")

    def test_copies_make_room_for_larger_batches(self):
        D_R, *_ = recipes(Match(2, 0.1, copies=2))
        large = replace(D_R, train=replace(TRAINING, batch_size=120))
        with tempfile.TemporaryDirectory() as out:
            prepare.prepare(tiny(sets=(large,)), Path(out))
        small = replace(large, train=replace(TRAINING, batch_size=121))
        self.refused(tiny(sets=(small,)), "must be in 1 .. 120")

    def test_features_need_all_classes(self):
        config = tiny(features=helpers.FEATURES, test_examples=9)
        self.refused(config, "fewer than 3 examples of class")

    def test_devices_that_are_not_there(self):
        work = replace(tiny().work, devices=5)
        self.refused(tiny(work=work), "must be in 1 .. 4 here, got 5")

    def test_a_network_that_ignores_the_number_of_classes(self):
        config = tiny(data="planted", network=Deaf())
        self.refused(config, r"Deaf gives logits \(10,\).*2 classes; is num_classes")

    def test_a_build_that_gives_no_model(self):
        self.refused(
            tiny(network=NoModel()), "NoModel.build must return a .*Model, got"
        )

    def test_arrays_that_are_no_images(self):
        bad = np.full((8, 8, 8, 1), 2, np.float32), np.arange(8) % 2
        self.refused(tiny(), r"must lie in \[0, 1\]", data=(bad, bad))

    def test_classes_of_the_plane(self):
        config = tiny(controls=replace(helpers.controls(), plane=Plane((1, 10), 0.5)))
        self.refused(config, "there are 0 .. 9")

    def test_parameters_that_nobody_asked_for_or_that_do_not_fit(self):
        self.refused(tiny(), "rubost.*standard, robust", sources={"rubost": {}})
        self.refused(tiny(), "robust", sources={"robust": {"params": {}}})

    def test_folder_that_takes_no_files(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "run"
            file.write_text("mine")
            with self.assertRaisesRegex(OSError, "can not be written to"):
                main.run(tiny(), file)


class FolderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.out = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def pretend(self, results, *seeds):
        """A finished run's files, as far as they are looked at."""
        (self.out / results).write_text(json.dumps({}))
        for seed in seeds:
            step = self.out / f"seed{seed}" / "standard"
            step.mkdir(parents=True)
            (step / "manifest.json").write_text("{}")

    def test_seeds_that_results_would_leave_out(self):
        self.pretend("results.json", 0, 5)
        for seeds in ((0,), (1,), (5, 6)):
            every = " ".join(map(str, sorted({0, 5, *seeds})))
            with self.assertRaisesRegex(
                ValueError, f"results of seeds 0, 5.*write --seeds {every}, or"
            ):
                prepare.prepare(tiny(seeds=seeds), self.out)
        prepare.prepare(tiny(seeds=(5, 0, 7)), self.out)

    def test_seeds_of_a_stopped_run_may_be_left_out(self):
        self.pretend("results.json", 0, 5)
        (self.out / "results.json").unlink()
        prepare.prepare(tiny(seeds=(0,)), self.out)

    @parameterized.parameters("transfer.json", "theory.json")
    def test_another_kind_of_run_for_main(self, results):
        self.pretend(results)
        with self.assertRaisesRegex(
            ValueError, f"another kind of run, with a {results}"
        ):
            prepare.prepare(tiny(), self.out)

    def test_another_kind_of_run_for_transfer(self):
        self.pretend("results.json", 0)
        with self.assertRaisesRegex(ValueError, "another kind of run"):
            transfer.run(tiny_transfer(), self.out)
        self.assertFalse((self.out / "transfer.json").exists())
