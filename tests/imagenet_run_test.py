"""configs/restricted_imagenet.py in small, from JPEGs to results."""

from dataclasses import dataclass, replace

import helpers
import numpy as np
from absl.testing import absltest
from imagenet_test import jpeg, write

from nrf import data, models
from nrf.config import Experiment, Work, options
from nrf.data import imagenet
from nrf.experiments import main
from nrf.types import Model


@dataclass(frozen=True)
class Narrow(models.ResNet50):
    """One block of four channels, behind the stem for ImageNet."""

    def build(self, num_classes: int) -> Model:
        return self._resnet(num_classes, blocks=(1,), bottleneck=True)


def photographs(count: int) -> list[tuple[bytes, int]]:
    """Of all sizes, noise around a colour of the group, and some of no group."""
    random = np.random.default_rng(count)
    classes = [*(first for first, _ in imagenet.GROUPS.values()), 999]
    made = []
    for row in range(count):
        y = classes[row % len(classes)]
        height, width = random.integers(30, 60, 2)
        noise = random.integers(0, 100, (height, width, 3))
        colour = [(row % len(classes)) * 15, 75, 135 - (row % len(classes)) * 15]
        made.append((jpeg(np.uint8(noise + np.array(colour))), y))
    return made


def small(config: Experiment) -> Experiment:
    """The same steps, a few of each."""

    def short(training):
        attack = training.attack and replace(training.attack, steps=2)
        return replace(training, epochs=2, batch_size=20, attack=attack)

    def fewer(one):
        recipe = one.recipe
        if hasattr(recipe, "attack"):
            recipe = replace(recipe, attack=replace(recipe.attack, steps=3))
        else:
            recipe = replace(recipe, steps=3)
        return replace(one, recipe=recipe, train=short(one.train))

    network = config.network
    return replace(
        config,
        data="restricted_imagenet/32",
        network=Narrow(network.mean, network.std, width=4, stem=network.stem),
        networks={name: short(one) for name, one in config.networks.items()},
        sets=tuple(map(fewer, config.sets)),
        # Attacks see of the data what trainings and sets do, and take long to compile.
        evaluation=replace(config.evaluation, epsilons=()),
        work=Work(synthesis_batch=32, evaluation_batch=20, resident=2**16),
    )


class RunTest(absltest.TestCase):
    def test_every_step_from_photographs_to_results(self):
        root = helpers.folder_of(type(self))
        write(root, photographs(180), photographs(40))
        imagenet.prepare(root, side=32)
        config = replace(small(options.load("restricted_imagenet")), data_dir=str(root))
        heard = helpers.Recorder()
        results = main.run(config, root / "run", progress=heard)
        names = "standard robust on_D_R on_D_rand on_D_det".split()
        self.assertEqual([row["network"] for row in results["rows"]], names)
        self.assertEqual({row["total"] for row in results["rows"]}, {36})
        self.assertEqual(heard.advanced["seed0/D_R"], 162)
        D_R, test = data.load(root / "run/seed0/D_R", data_dir=root)
        D, _ = data.load(config.data, data_dir=root)
        np.testing.assert_array_equal(D_R.labels, D.labels)
        self.assertEqual(D_R.images.shape, (162, 32, 32, 3))
        self.assertEqual((test.images.shape, test.names), ((36, 32, 32, 3), D.names))
        D_det, _ = data.load(root / "run/seed0/D_det", data_dir=root)
        np.testing.assert_array_equal(D_det.labels, (D.labels + 1) % 9)
        moved = np.asarray(D_det.images) - np.asarray(D.images)
        norms = np.linalg.norm(moved.reshape(162, -1), axis=1)
        self.assertGreater(norms.min(), 0.2)
        self.assertLess(norms.max(), 0.31)  # Three steps of 0.1, in half precision.
