"""The page's sections on linear features: what they say, draw and leave out."""

import functools
import re

from absl.testing import absltest

from nrf import features
from nrf.data import planted
from nrf.report import linear
from nrf.report.features import VERDICTS


@functools.cache
def plane(epsilon=0.15):
    return features.plane(*planted.load(300), classes=(0, 1), epsilon=epsilon)


def words(html):
    plain = re.sub(r"<svg.*?</svg>|<[^>]+>", "", html, flags=re.DOTALL)
    return " ".join(plain.replace("\xa0", " ").split())


def entry(seed, rand=200, det=60, robust=9):
    """Of one seed; shuffled labels give 5 to 20 % of 500."""

    def score(correct):
        return {"correct": correct, "total": 500, "shuffled": [25, 50, 100]}

    return {
        "seed": seed,
        "norm": "l2",
        "epsilon": 0.25,
        "features": 10,
        "robust": robust,
        "gammas": [-0.08, 0.42],
        "D_rand": score(rand) if robust else None,
        "D_det": score(det) if robust else None,
    }


class PlaneTest(absltest.TestCase):
    def test_nothing_where_nothing_was_measured(self):
        self.assertEqual(linear.plane_section({}), "")
        self.assertEqual(linear.plane_section({"plane": []}), "")

    def test_section(self):
        html = linear.plane_section({"plane": [plane()]})
        self.assertEqual(html.count("<svg"), 1)
        said = words(html)
        self.assertIn("The 64 principal directions", said)
        self.assertIn("bright above against bright below (300 training images)", said)
        self.assertIn("ρ around 0.058 here", said)
        limit = plane()["limit"]
        self.assertIn(f"Beyond ε = {limit:.2f}, half the distance", said)

    def test_every_direction_is_drawn_and_colours_are_those_of_features(self):
        drawn = linear.scatter(plane())
        for said in {point["verdict"] for point in plane()["directions"]}:
            self.assertIn(VERDICTS[said][0], drawn)
            self.assertIn(said, drawn)
        # And one in the legend for each verdict; two for every construction.
        kinds = len({point["verdict"] for point in plane()["directions"]})
        self.assertEqual(drawn.count("<use"), 64 + kinds + 2 * 3 + ticks(drawn))
        for label in ("most useful, training", "the same on test images", "γ = 0 at"):
            self.assertIn(label, drawn)

    def test_what_is_below_the_frame_is_at_its_edge(self):
        faint = plane() | {"directions": [dict(p) for p in plane()["directions"]]}
        faint["directions"][3]["rho"] = 1e-9
        heights = [
            float(y)
            for y in re.findall(r'<use [^>]*y="([\d.-]+)"', linear.scatter(faint))
        ]
        self.assertLess(max(heights), 400)

    def test_table(self):
        head, rows = linear.constructions(plane())
        self.assertEqual([len(row) for row in rows], [len(head)] * 2)
        mixed = plane()["containment"]
        self.assertEqual(rows[0][1], "63 directions|the best has ρ = 0.362")
        self.assertRegex(rows[1][1], r"2 directions\|of ρ = 0\.00\d and ρ = 0\.8")
        self.assertEqual(rows[1][3], f"{mixed['train']['rho']:.3f}")
        self.assertRegex(rows[1][5], r"^−0\.\d+\|\[−0\.\d+, −0\.\d+\]$")
        self.assertEqual(rows[1][-1], "useful, not robust")

    def test_constructions_that_are_not_possible(self):
        found = plane(0.0)
        _, rows = linear.constructions(found)
        self.assertEqual([row[1] for row in rows], ["not possible here"] * 2)
        drawn = linear.scatter(found)
        self.assertNotIn("ensemble", drawn)
        # At ε = 0 no feature is lost.
        self.assertNotIn("γ = 0 at", drawn)


def ticks(drawn):
    """How many of the <use> elements are ticks of axes."""
    return sum(
        group.count("<use")
        for group in re.findall(
            r'<g id="[^"]*tick_\d+">.*?</g>\s*</g>', drawn, flags=re.DOTALL
        )
    )


class LeakageTest(absltest.TestCase):
    def section(self, *entries):
        return linear.leakage_section(
            {"leakage": entries, "classes": list("abcdefghij")}
        )

    def test_nothing_where_nothing_was_measured(self):
        self.assertEqual(linear.leakage_section({"classes": [1, 2]}), "")
        self.assertEqual(self.section(), "")

    def test_section(self):
        said = words(self.section(entry(0), entry(1)))
        for part in (
            "ℓ₂, ε = 0.25",
            "The outputs have γ from −0.08 to 0.42.",
            "mean of 2 seeds",
            "right for 10.0 %",
        ):
            self.assertIn(part, said)

    def test_rows(self):
        head, rows = linear.leaked([entry(0), entry(1, rand=240)])
        self.assertEqual([row[0] for row in rows], ["D_rand", "D_det"])
        self.assertEqual([len(row) for row in rows], [len(head)] * 2)
        self.assertEqual(
            rows[0],
            [
                "D_rand",
                "9 of 10",
                "44.0 %|[39.7, 48.4]",
                "11.7 %|5.0 to 20.0",
                "above chance",
                "23.5 %",
            ],
        )
        self.assertEqual(rows[1][-2:], ["chance", "6.8 %"])

    def test_below_chance(self):
        _, rows = linear.leaked([entry(0, det=20)])
        self.assertEqual(rows[1][-2], "below chance")

    def test_a_set_of_right_labels_is_shown_first(self):
        one = entry(0)
        _, rows = linear.leaked([one | {"D": one["D_rand"]}])
        self.assertEqual([row[0] for row in rows], ["D", "D_rand", "D_det"])
        self.assertEqual(rows[0][-1], "–")

    def test_seeds_without_a_robust_feature(self):
        _, rows = linear.leaked([entry(0, robust=0)])
        self.assertEqual(rows[0][1:3], ["0 of 10", "–|no feature is robust"])
        self.assertIn("no feature is robust", words(self.section(entry(0, robust=0))))
        _, rows = linear.leaked([entry(0, robust=0), entry(1)])
        self.assertEqual(rows[0][1], "0 of 10, 9 of 10")
        self.assertIn("1 of 2 seeds", rows[0][2])
