"""Pages are opened in Chromium: quiet, without a network, folded and sorted by hand."""

import json
import os
import tempfile
import unittest
from pathlib import Path

import browser
import numpy as np
import pages
from absl.testing import absltest, parameterized

from nrf import report
from nrf.report import main

# Where axe-core is installed (npm install axe-core), its axe.min.js.
AXE = Path(os.environ.get("AXE", "node_modules/axe-core/axe.min.js"))
_AUDIT = """axe.run().then(of => of.violations
  .filter(one => ["serious", "critical"].includes(one.impact))
  .map(one => one.id + ": " + one.nodes[0].html))"""


def evident(**options):
    """Results with marks, and few plots."""
    results = pages.without_plots(pages.fake_results(**options), ("none", "pgd"))
    for row in results["rows"]:
        if row["epsilon"]:
            row["evidence"] = pages.fake_evidence(500, row["correct"])
    return results


@unittest.skipIf(browser.PROGRAM is None, "there is no Chromium")
class PageTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.page = Path(folder) / "report.html"
        pixels = np.random.default_rng(0).uniform(size=(10, 8, 8, 1))
        images = {"D": pixels, "D_labels": np.arange(10)}
        cls.page.write_text(main.html(evident(seeds=(0,)), images), "utf-8")
        cls.chromium = cls.enterClassContext(browser.browser())

    def check_quiet(self, path):
        self.assertEqual(self.chromium.complaints(), [])
        # Pictures and tables are in the page itself.
        asked = [u for u in self.chromium.requests() if not u.startswith("data:")]
        self.assertEqual(asked, [path.resolve().as_uri()])

    @parameterized.product(width=(1400, 400), dark=(False, True))
    def test_quiet_and_readable_by_all(self, width, dark):
        self.chromium.open(self.page, width, dark)
        self.check_quiet(self.page)
        run = self.chromium.run
        wider = "document.documentElement.scrollWidth - innerWidth"
        self.assertLessEqual(run(wider), 0)
        # The first table's second column is seen, and it says that there is more.
        table = "document.querySelector('[aria-label=\"Table: accuracy\"]')"
        seen = f"{table}.querySelectorAll('th')[1].getBoundingClientRect().right"
        self.assertLess(run(seen), width)
        wide = run(f"{table}.scrollWidth > {table}.clientWidth")
        for part, size in (("caption", "height"), ("caption span", "width")):
            of = f"{table}.querySelector('{part}').getBoundingClientRect().{size}"
            self.assertEqual(run(of) > 9, wide)
        if AXE.is_file():
            run("document.querySelectorAll('details').forEach(one => one.open = true)")
            run(AXE.read_text("utf-8") + "; 0")
            self.assertEqual(run(_AUDIT), [])

    def test_a_link_opens_what_is_folded(self):
        self.chromium.open(self.page)
        run = self.chromium.run
        entry = (
            "document.getElementById(document.querySelector('a.mark').hash.slice(1))"
        )
        self.assertFalse(run(f"{entry}.checkVisibility()"))
        run("document.querySelector('a.mark').click()")
        self.assertTrue(run(f"{entry}.checkVisibility()"))
        self.assertBetween(run(f"{entry}.getBoundingClientRect().top"), 0, 900)
        self.assertEqual(run("document.querySelectorAll('[open]').length"), 1)
        # On paper all sections are open.
        hidden = "[...document.querySelectorAll('.folded > div')].filter(\
            one => !one.checkVisibility()).length"
        self.assertGreater(run(hidden), 2)
        self.chromium.ask("Emulation.setEmulatedMedia", media="print")
        self.assertEqual(run(hidden), 0)

    def test_runs_are_sorted_by_a_click(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, total in (("a", 100), ("b", 1000), ("c", 30)):
                (Path(folder) / name).mkdir()
                results = evident(seeds=(0,), total=500)
                results["data"] = f"{total} images"
                (Path(folder) / name / "results.json").write_text(json.dumps(results))
            runs = [Path(folder) / name for name in "abc"]
            path = Path(folder) / "comparison.html"
            path.write_text(report.compare(runs, path).html, "utf-8")
            self.chromium.open(path)
            self.check_quiet(path)
        first = "[...document.querySelectorAll('.sortable tbody th')].map(one => \
            one.innerText).join('')"
        data = "[...document.querySelectorAll('.sortable button')].find(one => \
            one.innerText == 'data')"
        for expected in ("cab", "bac"):
            self.chromium.run(f"{data}.click()")
            self.assertEqual(self.chromium.run(first), expected)


if __name__ == "__main__":
    absltest.main()
