"""What is measured on a GPU, in small on a CPU: its pieces, and their files."""

import json
import pickle
import sys
import tempfile
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest

from nrf import data
from nrf.config import files
from nrf.experiments.networks import fit
from nrf.runs import key_for, local

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
with mock.patch.object(sys, "path", [*sys.path, str(BENCHMARKS)]):
    import gpu


PIECES = "fast", "autoattack"


class GpuTest(absltest.TestCase):
    def test_pieces_in_small(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            for _ in range(2):  # The second time everything is kept.
                gpu.run(["--smoke", "--out", folder, *PIECES])
                told = {p: json.loads((out / f"{p}.json").read_text()) for p in PIECES}
            kept = out / "kept" / "cifar10_fast" / "seed0"
            made, times = pickle.loads((kept / "standard.pickle").read_bytes())
        fast = told["fast"]["fast"]
        self.assertLen(fast["rows"], 18)
        self.assertEqual(fast["steps"][0]["step"], "seed0/standard")
        self.assertEqual(fast["steps"][0]["seconds"], times[0])
        self.assertLess(times[1], times[0])
        # What a step took is known from the first time.
        self.assertGreater(fast["steps"][0]["seconds"], fast["seconds"])
        networks = [row["network"] for row in told["autoattack"]["autoattack"]["rows"]]
        self.assertEqual(networks, ["standard", "on_D_R"])
        self.assertIn("jax", told["fast"]["versions"])
        self.check_network(made)

    def check_network(self, made):
        """It is the one of the experiment itself."""
        config = gpu.small(files.load("cifar10_fast"))
        train_set, test_set = data.load(gpu.random_images())
        with jax.default_matmul_precision(config.precision):
            again = fit(
                key_for(0, "standard"),
                train_set,
                test_set,
                network=config.network,
                training=config.networks["standard"],
                env=local(config.work),
            )
        jax.tree.map(np.testing.assert_array_equal, made.params, again.params)

    def test_asks_for_data(self):
        with self.assertRaises(SystemExit), mock.patch("sys.stderr"):
            gpu.parse(["steps"])
        with self.assertRaises(SystemExit), mock.patch("sys.stderr"):
            gpu.parse(["--smoke", "step"])
