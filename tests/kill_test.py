"""A whole run, ended at random moments again and again: results stay what they were."""

import collections
import contextlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import helpers
import numpy as np
from absl.testing import parameterized

from nrf.experiments import main
from nrf.runs import Progress, checkpoints, manifest, shards, store

KILLS = 20
D_R, _, D_rand, _ = helpers.tiny().sets
CONFIG = helpers.tiny(
    sets=(D_R, D_rand),
    autoattack=helpers.AUTOATTACK,
    work=replace(helpers.tiny().work, checkpoint_minutes=0),
)


class Kill(BaseException):
    """Passes through whatever handles errors."""


class Moments(Progress):
    """Counts what happens in a run by its place, and kills it when that is so much."""

    def __init__(self, until: int | None = None):
        self.until = until
        self.places: collections.Counter[str] = collections.Counter()

    def __call__(self, place: str) -> None:
        self.places[place] += 1
        if self.places.total() == self.until:
            raise Kill(place)

    def advance(self, step, examples):
        self("tick")

    def metrics(self, step, values):
        self("metrics")

    def around(self, owner, name: str) -> mock._patch:
        """Makes a moment before a function of the package, and one after."""
        inner = getattr(owner, name)

        def outer(*args):
            self(f"before {name} of {owner.__name__}")
            result = inner(*args)
            self(f"after {name} of {owner.__name__}")
            return result

        return mock.patch.object(owner, name, outer)


def run(out: Path, until: int | None = None) -> Moments:
    """The run, up to its end or to so many moments; raises Kill there."""
    moments = Moments(until)
    with contextlib.ExitStack() as stack:
        for owner, name in (
            (shards, "_write"),
            (checkpoints.Fold, "_write"),
            (manifest, "file_digests"),  # Within the writing of a step,
            (store, "sync_folder"),  # and on both sides of its end.
        ):
            stack.enter_context(moments.around(owner, name))
        main.run(CONFIG, out, progress=moments)
    return moments


def outcome(out: Path) -> tuple[dict[str, str], list]:
    """Digests of all steps, and the rows of the results."""
    digests = {
        path.name: manifest.digest(path) for path in (out / "seed0").glob("[!.]*")
    }
    return digests, json.loads((out / "results.json").read_text())["rows"]


class KillTest(parameterized.TestCase):
    def test_killed_at_20_random_moments_the_results_are_the_same(self):
        root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        all_moments = run(root / "whole")
        self.assertLen(all_moments.places, 10)
        whole = outcome(root / "whole")
        random = np.random.default_rng(0)
        killed: collections.Counter[str] = collections.Counter()
        finished = 0
        while killed.total() < KILLS:
            out = root / f"killed{finished}"
            while not (out / "results.json").exists():
                until = random.integers(1, all_moments.places.total() // 11)
                try:
                    run(out, int(until))
                except Kill as kill:
                    killed[str(kill)] += 1
                self.assertLess(killed.total(), 2 * KILLS, "it does not go on")
            self.assertEqual(outcome(out), whole)
            self.assertEmpty(list((out / "seed0").glob(".*")))
            finished += 1
        self.assertGreater(len(killed), 3, killed)
