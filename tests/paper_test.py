"""Every setting of a run beside the paper's: no difference goes unsaid."""

import copy
import json
from dataclasses import replace

from absl.testing import parameterized
from helpers import tiny

from nrf import losses
from nrf.config import options
from nrf.report import paper, settings
from nrf.runs.provenance import describe

# What the paper's own config has to decide for itself.
OPEN = {
    "drops of standard, robust, on_D_R, on_D_NR, on_D_rand, on_D_det: 0.3333, 0.6667 "
    "(paper: one, by a factor of 10)"
}


def results_of(config):
    """As results.json has it."""
    return {"data": "cifar10", "config": json.loads(json.dumps(describe(config)))}


def change(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, 9.0]
    return "something else"


def leaves(value, path=()):
    """Paths of all that is neither a dict nor a list of dicts."""
    parts = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list) and value and isinstance(value[0], dict):
        parts = enumerate(value)
    for name, part in parts:
        yield from leaves(part, (*path, name))
    if not parts:
        yield path


class SettingsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.config = options.load("cifar10")
        self.results = results_of(self.config)

    def differs(self, results=None):
        return set(settings.compared(results or self.results)[0])

    def test_the_papers_config_is_the_papers(self):
        self.assertEqual(self.differs(), OPEN)
        _, unsaid = settings.compared(self.results)
        expected = """
            storage: float32
            precision: float32
            epochs of standard, robust, on_D_R, on_D_NR: 150
            attack.keep_best of robust: False
            recipe.identity_relu of D_R, D_NR, D_rand, D_det: False
            recipe.attack.keep_best of D_rand, D_det: False
            epochs of on_D_rand, on_D_det: 200
            evaluation.steps: 100
            evaluation.crossings: 2.5
            evaluation.restarts: 1
            evaluation.loss: cross_entropy
            evaluation.queries: 100
        """
        self.assertEqual(unsaid, [line.strip() for line in expected.split("\n")[1:-1]])

    def test_any_field_that_is_changed_is_told(self):
        """As a difference, or as what the paper leaves open."""
        before = settings.compared(self.results)
        silent = set()
        for path in leaves(self.results["config"]):
            changed = copy.deepcopy(self.results)
            *outer, name = path
            place = changed["config"]
            for part in outer:
                place = place[part]
            place[name] = change(place[name])
            if settings.compared(changed) == before:
                silent.add(next(part for part in path if isinstance(part, str)))
                kept = {"kind", "warmup", "title", "text", "attacked", "name"}
                beside = path[0] in settings._BESIDE
                self.assertTrue(beside or path[-1] in kept, path)
        self.assertContainsSubset({"work", "seeds", "name"}, silent)

    def test_equal_differences_are_told_together(self):
        standard = replace(self.config.networks["standard"], nesterov=True)
        D_R, *others = self.config.sets
        D_R = replace(D_R, train=standard)
        networks = {**self.config.networks, "standard": standard}
        found = self.differs(
            results_of(replace(self.config, networks=networks, sets=(D_R, *others)))
        )
        self.assertIn("nesterov of standard, on_D_R: True (paper: False)", found)

    def test_what_the_paper_does_not_have_is_told(self):
        training = replace(
            self.config.networks["robust"], objective=losses.LogitPairing(weight=0.5)
        )
        networks = {**self.config.networks, "robust": training}
        results = results_of(replace(self.config, networks=networks))
        results["config"]["sets"][0]["recipe"]["temperature"] = 2.0
        found = self.differs(results)
        self.assertIn(
            "objective.kind of robust: LogitPairing (paper: not there)", found
        )
        self.assertIn("recipe.temperature of D_R: 2 (paper: not there)", found)
        del results["config"]["networks"]["robust"]["nesterov"]
        found = self.differs(results)
        self.assertIn("nesterov of robust: not there (paper: False)", found)

    def test_sets_that_the_run_does_not_have_are_not_compared(self):
        D_R, *_ = self.config.sets
        found = self.differs(results_of(replace(self.config, sets=(D_R,))))
        (drops,) = OPEN
        self.assertEqual(found, {drops.replace(", on_D_NR, on_D_rand, on_D_det", "")})

    def test_other_networks_and_sets_than_the_papers_are_not_compared(self):
        self.results["config"] |= {"networks": {}, "sets": []}
        phrases = settings.compared(self.results)
        self.assertFalse([p for p in sum(phrases, []) if "standard" in p or "D_R" in p])

    def test_on_the_page(self):
        note = paper.setting(results_of(tiny(data="cifar10")))
        for words in (
            "network.kind: Small (paper: ResNet50)",
            "train_examples: 60 (paper: None)",
            "recipe.attack.epsilon of D_rand, D_det: 1 (paper: 0.5)",
            "recipe.steps of D_R, D_NR: 3 (paper: 1000)",
        ):
            self.assertIn(words, note)
        self.assertIn(
            "leaves open, and here it is: storage: float32; precision: float32; epochs",
            note,
        )
        self.assertNotIn("is the same here", note)
