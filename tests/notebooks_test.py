"""The notebooks run from top to bottom, on a smaller config; and what was saved."""

import contextlib
import io
import json
import os
import re
import sys
import types
from pathlib import Path
from unittest import mock

import jax
import matplotlib as mpl
from absl.testing import absltest, parameterized
from helpers import folder_of, tiny
from matplotlib import pyplot as plt

from nrf import attacks, data, evaluate, losses
from nrf.config import options
from nrf.data import load
from nrf.evaluate import robust_accuracy
from nrf.models import Small

FILES = {
    path.stem: json.loads(path.read_text())["cells"]
    for path in (Path(__file__).parent.parent / "notebooks").glob("*.ipynb")
}
PHOTOS = tiny(
    data="photos",
    network=Small((0.4,) * 3, (0.3,) * 3, widths=(4, 5), patch=2),
    train_examples=60,
)


def interact(shown, **ranges):
    """As ipywidgets does at first, and at the least of every slider."""
    shown()
    shown(**{name: least for name, (least, *_) in ranges.items()})


def few(name, *, train_examples=100, test_examples, **options):
    counts = {"train_examples": train_examples, "test_examples": min(test_examples, 80)}
    return load(name, **counts, **options)


def by_pgd(model, params, x, y, threat):
    attack = attacks.pgd(
        losses.cross_entropy(model.apply), threat, steps=2, step_size=0.2
    )
    return robust_accuracy(model, params, x, y, threat, attack=attack, thorough=False)


class NotebooksTest(parameterized.TestCase):
    @parameterized.parameters(*FILES)
    def test_its_cells_run(self, name):
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder_of(type(self)))
        displayed: list = []
        stubs = {
            "IPython.display": types.SimpleNamespace(
                Image=lambda png: png, display=displayed.append
            ),
            "ipywidgets": types.SimpleNamespace(interact=interact),
        }
        names = {"__name__": "__main__"}
        with (
            mock.patch.dict(sys.modules, stubs),
            mock.patch.object(options, "load", lambda name: PHOTOS),
            mock.patch.object(data, "load", few),
            # PGD instead of AutoAttack, which takes as long for a few images.
            mock.patch.object(evaluate, "robust_accuracy", by_pgd),
            mpl.rc_context({"backend": "agg"}),
            # Flax's layers mix types by design.
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            contextlib.redirect_stdout(io.StringIO()) as printed,
        ):
            self.addCleanup(plt.close, "all")
            for cell in FILES[name]:
                # Lines for the notebook itself, such as %pip, are no Python.
                lines = [line for line in cell["source"] if line[:1] not in "%!"]
                if cell["cell_type"] == "code":
                    # Few steps are as good here, and narrow layers.
                    text = re.sub(r"steps=\d+", "steps=2", "".join(lines))
                    exec(re.sub(r"(Conv|Dense)\(\d+", r"\1(4", text), names)
        if name == "tour":
            (png,) = displayed
            self.assertStartsWith(png, b"\x89PNG")
            self.assertIn("final_distance", printed.getvalue())
        else:
            self.assertIn("trained at  1.0: ρ = 0.909", printed.getvalue())

    @parameterized.parameters(*FILES)
    def test_it_was_saved_without_outputs(self, name):
        for cell in FILES[name]:
            self.assertEmpty(cell.get("outputs", []))


if __name__ == "__main__":
    absltest.main()
