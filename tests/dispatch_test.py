"""How often a run compiles what is as large as a network, and calls the devices."""

import collections
import contextlib
import re
from dataclasses import replace
from unittest import mock

import helpers
import jax
import numpy as np
import programs_test as programs
from absl.testing import parameterized

from nrf import devices, evaluate, train
from nrf.config import Work, options
from nrf.devices import maps
from nrf.experiments import build, main
from nrf.models import Small
from nrf.types import Dataset


def toy(count, seed):
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 10
    images = generator.random((count, 8, 8, 3), np.float32)
    return Dataset(images, labels, tuple("abcdefghij"))


def short(training):
    return training and replace(training, epochs=2, batch_size=16)


def fast():
    """configs/cifar10_fast.py with next to no work to do."""
    config = options.load("cifar10_fast")
    networks = {}
    for name, training in config.networks.items():
        attack = training.attack and replace(training.attack, steps=2)
        networks[name] = replace(short(training), attack=attack)
    sets = []
    for one in config.sets:
        recipe = one.recipe
        if hasattr(recipe, "steps"):
            recipe = replace(recipe, steps=2)
        else:
            recipe = replace(recipe, attack=replace(recipe.attack, steps=2))
        sets.append(replace(one, recipe=recipe, train=short(one.train)))
    # As large as each other as they are there.
    synthesis = 20 * config.work.synthesis_batch // config.work.evaluation_batch
    return replace(
        config,
        network=Small((0.5,), (0.25,), widths=(7,)),
        networks=networks,
        sets=tuple(sets),
        evaluation=replace(config.evaluation, steps=2, queries=2),
        work=Work(devices=1, synthesis_batch=synthesis, evaluation_batch=20, updates=3),
    )


@contextlib.contextmanager
def compilations(folder):
    """Names of the programs with products of matrices that are compiled meanwhile."""
    names = []
    before = jax.config.read("jax_dump_ir_to")
    jax.config.update("jax_dump_ir_to", str(folder))
    try:
        yield names
    finally:
        jax.config.update("jax_dump_ir_to", before)
        for text in (path.read_text() for path in folder.glob("*compile*")):
            if re.search(r"stablehlo\.(convolution|dot_general)\b", text):
                names += re.findall(r"module @jit_(\w+)", text)


class RunTest(parameterized.TestCase):
    def test_networks_are_compiled_a_few_times_and_called_in_chunks(self):
        calls = 0

        def counted(step, make=train.make_update):
            update = make(step)

            def call(*args):
                nonlocal calls
                calls += 1
                return update(*args)

            return call

        out = helpers.folder_of(type(self))
        with (
            mock.patch.object(train, "make_update", counted),
            compilations(out / "texts") as names,
        ):
            main.run(fast(), out / "run", data=(toy(64, 0), toy(40, 1)))
        # Standard and adversarial updates; PGD and Square. Accuracies, the active test,
        # D_rand and D_det have none of their own. Weights begin without a network.
        expected = dict(update=2, match=1, logits=1, look=1, attack=2)
        self.assertEqual(collections.Counter(names), expected)
        # Two epochs of six trainings, each of four updates in calls of three.
        self.assertEqual(calls, 6 * 2 * 2)


def update(count=3, **options):
    """A program of so many updates, and its arguments for the devices of a mesh."""
    step = programs.training(**options).f
    images = np.stack([programs.images(seed) for seed in range(count)])
    labels = np.stack([programs.labels()] * count)
    before = jax.random.key(1), programs.state(), {}
    return train.make_update(step), before, (images, labels), np.int32(count)


class UpdatesTest(parameterized.TestCase):
    """Many updates in one call, read off their program."""

    def text(self, *platforms, **options):
        f, before, batches, count = update(**options)
        traced = f.trace(*before, *batches, count)
        return traced.lower(lowering_platforms=platforms).as_text()

    @parameterized.parameters("cuda", "tpu")
    def test_elsewhere_they_are_one_update_in_a_loop(self, platform):
        one, three = self.text(platform, count=1), self.text(platform)
        (products,) = programs.counts(one, "dot_general")
        self.assertEqual(programs.counts(three, "dot_general"), [products])
        loops = [programs.counts(text, "while")[0] for text in (one, three)]
        self.assertEqual(loops[1] - loops[0], 1)
        self.assertEqual(programs.counts(three, "optimization_barrier"), [0])
        on_cpus = self.text("cpu")
        self.assertGreater(programs.counts(on_cpus, "optimization_barrier"), [0])

    def test_devices_talk_of_gradients_and_statistics_alone(self):
        f, before, batches, count = update()
        mesh = devices.make_mesh()
        before = devices.copy(mesh, before)
        batches = devices.split(mesh, batches, axis=1)
        text = f.lower(*before, *batches, count).compile().as_text()
        found = programs.COMMUNICATION.findall(text)
        self.assertEqual({operation for _, operation in found}, {"all-reduce"})


class HeldTest(parameterized.TestCase):
    def test_test_sets_stay_on_the_devices(self):
        """Batches are uploaded by the first of the evaluations that share a dict."""
        dataset = Dataset(
            programs.images()[[0, 1, 2, 3, 4]], programs.labels()[:5], "abcd"
        )
        correct, held, found = build.correct(programs.NET), {}, []
        for uploads in (3, 0):
            with mock.patch.object(maps, "split", wraps=maps.split) as split:
                found.append(
                    evaluate.right(
                        jax.random.key(0),
                        correct,
                        programs.state().params,
                        dataset,
                        batch_size=2,
                        mesh=devices.make_mesh(1),
                        held=held,
                    )
                )
            self.assertEqual(split.call_count, uploads)
        np.testing.assert_array_equal(found[1], found[0])
        labels = np.concatenate([y for _, _, y in held.values()])
        np.testing.assert_array_equal(labels, [0, 1, 2, 3, 0, 0])
