"""The README and the pages of docs/: their programs, and the files that they name."""

import contextlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import jax
from absl.testing import absltest, parameterized
from flax import linen as nn
from helpers import folder_of, tiny

from nrf import data, models
from nrf.config import options

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
# The programs of these pages have tests of their own.
ELSEWHERE = "docs/your_own.md", "docs/exchange.md"
WITH_PROGRAMS = [
    name
    for name, text in PAGES.items()
    if "```python" in text and name not in ELSEWHERE
]


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(x.reshape(len(x), -1))


@dataclass(frozen=True)
class Mine:
    def build(self, num_classes):
        return models.linen(Net())


class PagesTest(parameterized.TestCase):
    @parameterized.parameters(*WITH_PROGRAMS)
    def test_programs_run(self, name):
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(folder_of(type(self)))
        (x, y, _), (x_test, y_test, _) = (
            data.Dataset(part.images[:40], part.labels[:40], part.names)
            for part in data.load("digits")
        )
        # What its reader has.
        module = Net()
        config = tiny(sets=(), train_examples=None, test_examples=None)
        params = module.init(jax.random.key(0), x[:1])
        names = {**locals(), "Mine": Mine, "out": Path("runs/mine")}
        programs = re.findall(r"```python\n(.*?)```", PAGES[name], re.DOTALL)
        # Flax's layers mix types by design.
        with (
            jax.numpy_dtype_promotion("standard"),
            mock.patch.object(options, "load", lambda name: config),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            for program in programs:
                exec(program, names)
                for name, number in re.findall(
                    r"^(\w+) = .*  # (\d+\.\d+)", program, re.MULTILINE
                ):
                    digits = len(number.partition(".")[2])
                    self.assertEqual(f"{float(names[name]):.{digits}f}", number)

    @parameterized.parameters(*PAGES)
    def test_files_that_it_names_are_there(self, name):
        text = PAGES[name]
        for file in re.findall(
            r"(?:scripts|configs|benchmarks|docs|notebooks)/\w+\.\w+", text
        ):
            self.assertTrue((ROOT / file).is_file(), file)
        for link in re.findall(r"\]\(([^):#]+)[^):]*\)", text):
            self.assertTrue(((ROOT / name).parent / link).is_file(), link)

    def test_the_site_has_every_page(self):
        listed = set(re.findall(r"^(\S+)$", PAGES["docs/index.md"], re.MULTILINE))
        pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
        notebooks = (ROOT / "notebooks").glob("*.ipynb")
        pages |= {f"../notebooks/{path.stem}" for path in notebooks}
        self.assertLessEqual(pages, listed)

    def test_readme_is_short_and_begins_with_the_picture(self):
        readme = PAGES["README.md"]
        self.assertLessEqual(len(readme.split()), 1000)
        first = readme.index("D_R")
        self.assertLess(readme.index("docs/figure.png"), readme.index("**D_R**:"))
        self.assertGreaterEqual(first, readme.index("!["))


if __name__ == "__main__":
    absltest.main()
