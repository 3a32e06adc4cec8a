"""The programs of docs/your_own.md run as they stand there, and are short."""

import ast
import contextlib
import os
import re
import tempfile
from pathlib import Path

import jax
import numpy as np
import PIL.Image
from absl.testing import parameterized
from helpers import tiny

from nrf import data
from nrf.config import Evaluation
from nrf.types import Network

PAGE = Path(__file__).parent.parent / "docs" / "your_own.md"
# Statements after the imports, for each section.
LONGEST = {
    "Robust accuracy of any network": 3,
    "A certificate": 3,
    "The four sets of your network and arrays": 12,
    "The experiment on your data": 3,
    "Your architecture": 15,
    "Another objective of adversarial training": 12,
    "Another distance of features": 12,
    "A set of your own": 12,
    "A trained source of your own": 3,
    "Watching a run": 3,
    "A finished run": 5,
    "Five radii, compared": 5,
    "The cost before the work": 1,
}


def sections():
    """Every heading with the programs below it; the first heading is the page's."""
    parts = re.split(r"^##? (.+)$", PAGE.read_text(), flags=re.M)[1:]
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        yield title, re.findall(r"```python\n(.*?)```", text, flags=re.S)


def statements(program):
    tree = ast.parse(program)
    return sum(
        isinstance(node, ast.stmt)
        and not isinstance(node, ast.Import | ast.ImportFrom)
        # A docstring does nothing.
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.walk(tree)
    )


class DocsTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        before = os.getcwd()
        os.chdir(folder)
        stack.callback(os.chdir, before)
        # Flax's layers mix types by design.
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        (_, (begin,)), *cls.programs = sections()
        cls.names = names = {}
        exec(begin, names)
        # One of the four sets, and no attack: what the programs add is on this page.
        names["config"] = tiny(
            sets=tiny().sets[:1], evaluation=Evaluation("l2", (), steps=1)
        )
        for name in ("train", "test"):
            images, labels, classes = names[name]
            names[name] = names["data"].Dataset(images[:60], labels[:60], classes)
        # What a reader has: two networks, arrays, a folder of pictures.
        model = names["config"].network.build(10)
        standard, robust = (
            Network(model, model.init(jax.random.key(seed), names["train"].images[:1]))
            for seed in range(2)
        )
        names.update(standard=standard, robust=robust, params=robust.params)
        names["apply"] = lambda params, x: model.apply(params, x).logits
        names["x"], names["y"], names["names"] = names["train"]
        names["x_test"], names["y_test"], _ = names["test"]
        for number, label in enumerate(names["y"]):
            path = Path("pets", "train", str(label), f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.uint8(np.round(255 * names["x"][number, ..., 0]))
            PIL.Image.fromarray(pixels).save(path)

    def test_every_program_is_as_short_as_told(self):
        self.assertEqual([title for title, _ in self.programs], list(LONGEST))
        for title, programs in self.programs:
            for program in programs:
                self.assertLessEqual(statements(program), LONGEST[title], title)

    def test_programs_run_in_their_order(self):
        ran = {}
        for title, programs in self.programs:
            for program in programs:
                names = dict(self.names)
                if title == "The four sets of your network and arrays":
                    # Few steps are as good here.
                    program = re.sub(r"steps=1000?\b", "steps=2", program)
                # Two radii are as good as five.
                program = program.replace("1.0, 1.25, 1.5)", ")")
                exec(program, names)
                ran.setdefault(title, {}).update(names)
        robust = ran["Robust accuracy of any network"]["result"]
        self.assertEqual(robust.score.total, 60)
        self.assertEqual(ran["A certificate"]["certified"]["counts"]["total"], 40)
        self.assertLen(ran["The four sets of your network and arrays"]["source"], 60)
        own = ran["The experiment on your data"]
        pets = data.load(own["pets"].data)
        self.assertEqual(sum(len(part.labels) for part in pets), 60)
        (pair,) = re.findall(r"`data=(\(.*?\))`", PAGE.read_text(), flags=re.S)
        again, _ = data.load(eval(pair, own))
        self.assertLen(again.labels, 60)
        mine = ran["A set of your own"]["results"]
        inverted = [row for row in mine["rows"] if row["trained_on"] == "D_inverted"]
        self.assertLen(inverted, 1)
        self.assertEqual(mine["sets"][-1]["text"][:9], "Negatives")
        with np.load("runs/more/pictures.npz") as pictures:
            np.testing.assert_array_equal(pictures["D_inverted"], 1 - pictures["D"])
        run = ran["A finished run"]
        self.assertEqual(run["logits"].shape, (8, 10))
        theirs = ran["A trained source of your own"]["results"]
        self.assertNotIn("seed0/robust", theirs["seconds"])
        steps = ran["The cost before the work"]["steps"]
        self.assertFalse(any(step.done for step in steps))
