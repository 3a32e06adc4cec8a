"""The notebooks: all cells on a smaller config, the first one as Colab runs it."""

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import types
import venv
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

ROOT = Path(__file__).parent.parent
FILES = {
    path.stem: json.loads(path.read_text())["cells"]
    for path in (ROOT / "notebooks").glob("*.ipynb")
}
PHOTOS = tiny(
    data="photos",
    network=Small((0.4,) * 3, (0.3,) * 3, widths=(4, 5), patch=2),
    train_examples=60,
)

# A kernel: it runs before anything is installed, and %pip is its own pip. The cell ends
# where the first network begins to learn.
KERNEL = """
import shlex, subprocess, sys, types
import jax  # As everything else that Colab has.


def pip(words):
    subprocess.run([sys.executable, "-m", "pip", *shlex.split(words)], check=True)


def begin(progress, step, examples):
    print(nrf.__file__, step)
    sys.exit()


sys.modules["IPython.display"] = types.SimpleNamespace(Image=None, display=None)
imports, _, work = sys.stdin.read().partition("results =")
names = {"input": lambda words: sys.argv[1], "pip": pip}
exec(imports, names)
import nrf
names["progress"].Lines.begin = begin
exec(work.strip(), names)
"""


def first_cell(name):
    """The lines before %pip, its words, and the lines below."""
    text = next("".join(c["source"]) for c in FILES[name] if c["cell_type"] == "code")
    return re.fullmatch(r"(.*\n)%pip (.*?)\n(.*)", text, re.DOTALL).groups()


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
        names = {"__name__": "__main__", "input": lambda words: "an address"}
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
    def test_it_installs_the_clone_that_it_is_in_or_asks(self, name):
        self.addCleanup(os.chdir, os.getcwd())
        before, pip, _ = first_cell(name)
        self.assertEqual(pip, "install --quiet {source}")
        for folder, source in ((ROOT / "notebooks", ".."), ("/", "an address")):
            os.chdir(folder)
            names = {"input": lambda words: "an address"}
            exec(before, names)
            self.assertEqual(names["source"], source)

    def test_the_first_cell_of_the_tour_runs_where_nrf_is_not_installed(self):
        folder = folder_of(type(self))
        # Named as a clone is, for which an editable installation would not be found.
        clone = folder / "nrf"
        for part in ("nrf", "configs"):
            shutil.copytree(ROOT / part, clone / part)
        for part in ("setup.cfg", "pyproject.toml", "README.md"):
            shutil.copy(ROOT / part, clone)
        venv.create(folder / "fresh", symlinks=True)
        (packages,) = (folder / "fresh").glob("lib/*/site-packages")
        for package in ("jax", "pip"):  # As Colab's image, all but this one is there.
            spec = importlib.util.find_spec(package)
            there = Path(spec.submodule_search_locations[0]).parent
            (packages / f"{package}.pth").write_text(f"{there}\n")
        before, pip, after = first_cell("tour")
        done = subprocess.run(
            [folder / "fresh/bin/python", "-c", KERNEL, clone],
            input=f"{before}pip(f{pip!r})\n{after}",
            env={n: v for n, v in os.environ.items() if n != "PYTHONPATH"},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if "No matching distribution found for setuptools" in done.stderr:
            self.skipTest("there is no network to build a package with")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            done.stdout.split(),
            [str(packages / "nrf/__init__.py"), "seed0/standard"],
        )

    @parameterized.parameters(*FILES)
    def test_it_was_saved_without_outputs(self, name):
        for cell in FILES[name]:
            self.assertEmpty(cell.get("outputs", []))


if __name__ == "__main__":
    absltest.main()
