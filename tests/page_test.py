"""Pages are opened in Chromium: quiet, without a network, folded and sorted by hand."""

import json
import tempfile
import unittest
from pathlib import Path

import browser
import numpy as np
import pages
import theory_report_test
import transfer_report_test
from absl.testing import absltest, parameterized

from nrf import report
from nrf.report import main

# Checks that all readers can use a page; `make test` fetches it where it can.
_FILE = "build/axe/node_modules/axe-core/axe.min.js"
AXE = Path(__file__).parent.parent / _FILE
_AUDIT = """axe.run().then(of =>
  of.violations.map(one => one.id + ": " + one.nodes[0].html))"""
KINDS = ("experiment", "theory", "transfer", "comparison")


def evident(**options):
    """Results with marks, and few plots."""
    results = pages.without_plots(pages.fake_results(**options), ("none", "pgd"))
    for row in results["rows"]:
        if row["epsilon"]:
            row["evidence"] = pages.fake_evidence(500, row["correct"])
    return results


def experiment():
    pixels = np.random.default_rng(0).uniform(size=(10, 8, 8, 1))
    images = {"D": pixels, "D_labels": np.arange(10)}
    return main.html(evident(seeds=(0,)), images)


def comparison(folder):
    """Of three experiments with other data, the theory, and a study."""
    runs = {
        name: ("results.json", evident(seeds=(0,)) | {"data": f"{count} images"})
        for name, count in (("a", 100), ("b", 1000), ("c", 30))
    }
    runs["d"] = ("theory.json", theory_report_test.fake_theory())
    runs["e"] = ("transfer.json", transfer_report_test.fake_study())
    for name, (file, record) in runs.items():
        (folder / name).mkdir()
        (folder / name / file).write_text(json.dumps(record))
    return report.compare([folder / name for name in runs]).html


@unittest.skipIf(browser.PROGRAM is None, "there is no Chromium")
class PageTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        for kind, source in {
            "experiment": experiment(),
            "theory": theory_report_test.source(),
            "transfer": transfer_report_test.source(),
            "comparison": comparison(cls.folder),
        }.items():
            cls.path(kind).write_text(source, "utf-8")
        cls.chromium = cls.enterClassContext(browser.browser())

    @classmethod
    def path(cls, kind):
        return cls.folder / f"{kind}.html"

    @parameterized.product(kind=KINDS, width=(1400, 400))
    def test_quiet_and_as_wide_as_the_screen(self, kind, width):
        self.chromium.open(self.path(kind), width)
        self.assertEqual(self.chromium.complaints(), [])
        # Pictures and tables are in the page itself.
        asked = [u for u in self.chromium.requests() if not u.startswith("data:")]
        self.assertEqual(asked, [self.path(kind).resolve().as_uri()])
        # A phone's own idea of its width would grow with the page.
        wide = self.chromium.run("document.documentElement.scrollWidth")
        self.assertLessEqual(wide, width)

    @parameterized.parameters(
        ("experiment", 1400, True),
        ("experiment", 400, False),
        ("theory", 400, True),
        ("transfer", 1400, False),
        ("comparison", 400, False),
    )
    @unittest.skipUnless(AXE.is_file(), f"`make {_FILE}` fetches it")
    def test_readable_by_all(self, kind, width, dark):
        self.chromium.open(self.path(kind), width, dark)
        run = self.chromium.run
        run("document.querySelectorAll('details').forEach(one => one.open = true)")
        run(AXE.read_text("utf-8") + "; 0")
        self.assertEqual(run(_AUDIT), [])

    @parameterized.parameters(1400, 400)
    def test_the_headline_is_seen_and_a_wide_table_says_so(self, width):
        self.chromium.open(self.path("experiment"), width)
        run = self.chromium.run
        table = "document.getElementById('table-accuracy')"
        seen = f"{table}.querySelectorAll('th')[1].getBoundingClientRect().right"
        self.assertLess(run(seen), width)
        wide = run(f"{table}.scrollWidth > {table}.clientWidth")
        for part, size in (("caption", "height"), ("caption span", "width")):
            of = f"{table}.querySelector('{part}').getBoundingClientRect().{size}"
            self.assertEqual(run(of) > 9, wide)
        # Ten images are all seen where the screen is wide enough.
        pictures = "document.getElementById('table-pictures')"
        more = run(f"{pictures}.scrollWidth > {pictures}.clientWidth")
        self.assertEqual(more, width < 1400)

    @parameterized.named_parameters(
        ("verdict", "experiment", ".verdict a"),
        ("mark", "experiment", "td a.mark"),
        ("theory", "theory", ".verdict a"),
    )
    def test_a_link_opens_what_is_folded(self, kind, link):
        self.chromium.open(self.path(kind))
        run = self.chromium.run
        # The last one whose evidence is folded away.
        run(f"""link = [...document.querySelectorAll('{link}')].findLast(one =>
          !document.getElementById(one.hash.slice(1)).checkVisibility());
          entry = document.getElementById(link.hash.slice(1)); link.click()""")
        self.assertTrue(run("entry.checkVisibility()"))
        self.assertBetween(run("entry.getBoundingClientRect().top"), 0, 900)
        self.assertEqual(run("document.querySelectorAll('[open]').length"), 1)

    def test_paper_has_all_sections_and_two_panels_side_by_side(self):
        self.chromium.open(self.path("theory"), 700)  # Of A4, between its margins.
        run = self.chromium.run
        hidden = "[...document.querySelectorAll('.folded > div')].filter(\
            one => !one.checkVisibility()).length"
        tops = "[...document.querySelector('.panels').children].slice(0, 2).map(\
            one => one.getBoundingClientRect().top)"
        self.assertGreater(run(hidden), 2)
        self.assertNotEqual(*run(tops))
        self.chromium.ask("Emulation.setEmulatedMedia", media="print")
        self.assertEqual(run(hidden), 0)
        self.assertEqual(*run(tops))
        # Captions stay smaller than the text.
        sizes = "['figcaption', 'ol li'].map(one => \
            parseFloat(getComputedStyle(document.querySelector(one)).fontSize))"
        self.assertLess(*run(sizes))

    def test_runs_are_sorted_by_a_click(self):
        self.chromium.open(self.path("comparison"))
        first = "[...document.querySelectorAll('.sortable tbody th')].map(one => \
            one.innerText).join('')"
        data = "[...document.querySelectorAll('.sortable button')].find(one => \
            one.innerText == 'data')"
        for expected in ("cabed", "debac"):
            self.chromium.run(f"{data}.click()")
            self.assertEqual(self.chromium.run(first), expected)


if __name__ == "__main__":
    absltest.main()
