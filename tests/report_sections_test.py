"""The page's sections on tables, controls, AutoAttack, features and linear features."""

import functools
import re

import numpy as np
import pages
from absl.testing import parameterized
from pages import CIFAR, fake_network, fake_results, fake_row, fake_set

from nrf import features as nrf_features
from nrf import report
from nrf.data import planted
from nrf.report import autoattack, controls, evidence, features, linear, main, tables
from nrf.report.claims import NOT_SHOWN, SHOWN
from nrf.report.results import by_network
from nrf.report.strongest import measures

SEEDS = (0, 1, 2)


def rows(name, correct, *, on="test", **options):
    """The same in every seed, of the network trained on the set `name`."""
    more = {"tested_on": on, **options}
    return [fake_row(f"on_{name}", name, correct, seed=s, **more) for s in SEEDS]


def added(results, group, titles):
    """The same results with more sets, and a network on each."""
    networks = [
        fake_network(f"on_{name}", name, group, title=title)
        for name, title in titles.items()
    ]
    sets = [
        fake_set(name, group, title, source=[name.removesuffix("_pushed")])
        for name, title in titles.items()
    ]
    return {
        **results,
        "networks": results["networks"] + networks,
        "sets": results["sets"] + sets,
    }


def words(source):
    return pages.words(re.sub(r"<svg.*?</svg>", "", source, flags=re.DOTALL)).strip()


class TablesTest(parameterized.TestCase):
    def results(self, **options):
        titles = {
            "D_rand_robust": "D_rand, robust source",
            "D_det_robust": "D_det, robust source",
            "D_R_noise": "D_R, from noise",
            "D_mine": "mine",
        }
        results = added(fake_results(**options), "tables", titles)
        results["config"]["tables"] = {
            "second_test": "cifar10_1/v6",
            "strength_of": "on_D_R",
        }
        at = {"epsilon": 0.5, "steps": 100}
        results["tables"] = [
            *rows("D_rand_robust", 125),
            *rows("D_det_robust", 30),
            *rows("D_det", 81, on="relabelled"),
            *rows("D_det_robust", 327, on="relabelled"),
            *rows("D_R_noise", 400),
            *rows("D_R_noise", 241, **at),
            *rows("D_mine", 333),
            *rows("D_R", 386, on="D_R", **at),
            *rows("D_R", 312, on="D_R_test", **at),
            *rows("D_R", 240, epsilon=0.5, steps=20),
            *rows("D_R", 230, epsilon=0.5, steps=320),
            *rows("D_R", 233, epsilon=0.5, steps=320, attack="pgd margin"),
            *rows("D_rand", 275, on="second_test"),
            *rows("D_rand", 1, on="second_test", **at),
        ]
        results["constructed"] += [
            {"set": "D_det_robust", "seed": seed, "reached_target": 0.345}
            for seed in SEEDS
        ]
        return results

    def test_nothing_where_a_run_has_none(self):
        self.assertEqual(tables.section(fake_results()), "")

    def test_every_number_is_said(self):
        page = words(tables.section(self.results()))
        for said in (
            "D rand , robust source 25.0 %",
            # Of the true labels, of the next class, and of targets reached.
            "D det , robust source 6.0 % [4.2, 8.4] ± 0.0 65.4 % [61.1, 69.4] ± 0.0 "
            "34.5 %",
            "16.2 %",
            "D R , from noise 80.0 % [76.3, 83.3] ± 0.0 48.2 %",
            "Sets of this run's own. trained on standard accuracy mine 66.6 %",
            "D R , which it was trained on 77.2 %",
            "D R made of the test images 62.4 %",
            "D R the test images 53.6 %",
            "from 20 to 320 steps it loses 2.0 points",
            "standard, on cifar10_1/v6",
            "55.0 %",
        ):
            self.assertIn(said, page)

    def test_the_paper_is_beside_cifar10_alone(self):
        digits, cifar = (
            words(tables.section(self.results(**data)))
            for data in ({}, {"data": "cifar10", "classes": CIFAR})
        )
        for printed in ("63.3 %", "65.5 %", "paper, ε = 0.25", "77.33 %", "62.49 %"):
            self.assertIn(printed, cifar)
            self.assertNotIn(printed, digits)

    @parameterized.parameters(
        ((100, 240), "−33.6 points (seeds [−34.1, −33.1], images", True),
        ((268, 269), "+0.0 points (seeds [−0.5, 0.5], images", False),
    )
    def test_what_contradicts_the_paper_is_said(self, counts, said, contradicts):
        results, (noise, on_test) = self.results(), counts
        for row in results["tables"]:
            place = row["network"], row["tested_on"]
            if row["epsilon"] and place == ("on_D_R_noise", "test"):
                row.update(pages.counted(noise))
            if place == ("on_D_R", "D_R_test"):
                row.update(pages.counted(on_test))
        page = words(tables.section(results))
        self.assertIn("48.27 and 48.2 % at ε = 0.25. Here, at ε = 0.5, D R made", page)
        self.assertIn(f"has {said}", page)
        less = "made from noise, D R is less robust"
        self.assertEqual(less in page, contradicts)
        self.assertEqual("No difference is shown" in page, not contradicts)
        order = "Here it does not, which contradicts the paper: 77.2, 48.0 and 53.6 %"
        self.assertEqual(order in page, contradicts)
        self.assertEqual("Here it does too: 77.2, 53.8 and" in page, not contradicts)

    def test_parts_are_there_by_themselves(self):
        results = self.results()
        for on, part in (
            ("relabelled", "D rand and D det by attacks"),
            ("D_R", "Where the network of D R is robust"),
            ("second_test", "collected later"),
        ):
            only = [r for r in results["tables"] if r["tested_on"] == on]
            page = words(tables.section({**results, "tables": only}))
            self.assertEqual(part in page, on != "relabelled")


def confusion(correct, spread):
    """[10][10] of 500 images; the wrong ones on so many of the other classes."""
    counts = np.zeros((10, 10), int)
    for k, right in enumerate(np.diff(np.linspace(0, correct, 11).astype(int))):
        counts[k, k] = right
        others = [(k + 1 + i) % 10 for i in range(spread)]
        for i in range(50 - right):
            counts[k, others[i % spread]] += 1
    return counts.tolist()


class ControlsTest(parameterized.TestCase):
    def results(self, spread=9, changes=(), **options):
        titles = {
            "D_rand_pushed": "D_rand, random push",
            "D_det_pushed": "D_det, random push",
            "D_errors": "errors of a network",
            "D_bugs": "D_det, others unmoved",
        }
        counts = {"D_rand_pushed": 50, "D_det_pushed": 0, "D_errors": 248}
        counts |= {"D_bugs": 14, **dict(changes)}
        results = added(fake_results(**options), "controls", titles)
        results["controls"] = [
            row
            for name, count in counts.items()
            for row in rows(name, count, confusion=confusion(count, spread))
        ]
        asked = {"standard": 999, "fresh": 825}, {"standard": 993, "fresh": 17}
        results["asked"] = [
            {"seed": 0, "total": 1000, "D_det": asked[0], "D_bugs": asked[1]}
        ]
        norms = {"mean_norm": 0.5, "mean_norm_noise": 0.5}
        results["constructed"] += [
            {"set": "D_rand_pushed", "seed": 0, **norms},
            {"set": "D_det_pushed", "seed": 0, **norms},
            {"set": "D_errors", "seed": 0, "wrong": 0.375},
        ]
        return results

    def verdicts(self, results):
        return [claim.verdict for claim in controls.judge(results)]

    def test_nothing_where_a_run_has_none(self):
        self.assertEqual(controls.section(fake_results()), "")

    def test_all_shown(self):
        results = self.results()
        self.assertEqual(self.verdicts(results), [SHOWN] * 3)
        page = words(controls.section(results))
        for said in (
            "attacked; target reached by 97.0 %, largest change 0.5",
            "D rand , random push 10.0 %",
            "moved at random, by 0.5 in ℓ₂ (the attack: 0.5)",
            "unchanged; the 37.5 % that a network got wrong",
            "takes 99.9 % of D det 's images for their new label and 99.3 % of these",
            "one of another seed takes 82.5 % of",
            "and 1.7 % of these.",
        ):
            self.assertIn(said, page)
        found = pages.verdicts(controls.section(results))
        self.assertEqual(found, [("Shown", "#table-controls")] * 3)
        names = re.findall(r'<th scope="row">(.*?)</th>', controls.section(results))
        self.assertLen(names, 6)
        self.assertEqual(
            [", random push" in name for name in names], [0, 1, 0, 1, 0, 0]
        )

    @parameterized.parameters(
        (0, "D_rand_pushed", 80),  # Above chance.
        (0, "D_det_pushed", 230),  # As good as the attack.
        (1, "D_errors", 50),  # As by chance.
        (2, "D_bugs", 215),  # As good as D_det.
    )
    def test_not_shown(self, which, name, count):
        verdicts = self.verdicts(self.results(changes={name: count}))
        expected = [SHOWN] * 3
        expected[which] = NOT_SHOWN
        self.assertEqual(verdicts, expected)

    def test_a_control_alone(self):
        results = self.results()
        results["controls"] = rows("D_bugs", 14)
        results["asked"] = []
        (claim,) = controls.judge(results)
        self.assertStartsWith(claim.title, "There are perturbations")
        self.assertNotIn("takes", claim.measured)

    def test_chance_is_wide_where_a_class_has_one_label(self):
        # Everything else of a class goes to one label: by luck it is the right one.
        narrow, wide = (
            controls.by_chance(
                self.results(spread, {"D_rand_pushed": 0}), "D_rand_pushed"
            )
            for spread in (9, 1)
        )
        # 50 of 500 images for each label in its place, one on average, in three seeds:
        # a Poisson number of mean 3.
        self.assertEqual(wide[0], 0)
        self.assertAlmostEqual(wide[1], 0.1 * 7 / 3, delta=0.1 / 3 + 1e-9)
        self.assertLess(narrow[1], 0.12)
        results = self.results(1, {"D_rand_pushed": 80, "D_errors": 60})
        self.assertEqual(self.verdicts(results), [SHOWN, NOT_SHOWN, SHOWN])

    def test_published_numbers_are_beside_cifar10_alone(self):
        digits, cifar = (
            words(controls.section(self.results(**data)))
            for data in ({}, {"data": "cifar10", "classes": CIFAR})
        )
        for printed in ("Wallace, ResNet-18: 49.7 %", "33.2 % and 2.8 %"):
            self.assertIn(printed, cifar)
            self.assertNotIn(printed, digits)


class AutoAttackTest(parameterized.TestCase):
    def results(self, d_r=(977, 550, 532), data="digits", **evidence):
        classes = {"classes": CIFAR} if data == "cifar10" else {}
        results = fake_results(data=data, **classes)
        results["config"]["autoattack"] = {"steps": 100, "queries": 5000}
        results["autoattack"] = [
            pages.fake_autoattack(
                name, seed, counts, **(evidence if name == "on_D_R" else {})
            )
            for seed in (0, 1)
            for name, counts in (
                ("standard", (993, 420, 401)),
                ("robust", (965, 780, 771)),
                ("on_D_R", d_r),
            )
        ]
        return results

    def words(self, results):
        return words(autoattack.section(results))

    def test_nothing_where_it_was_not_run(self):
        self.assertEqual(autoattack.section(fake_results()), "")

    def test_numbers_side_by_side(self):
        page = self.words(self.results())
        self.assertIn(
            "D R 97.7 % [96.6, 98.5] ± 0.0 55.7 % [52.6, 58.8] ± 0.0 ✓ 55.0 %", page
        )
        self.assertIn(
            "D R believable 0.0 % 0.0 % 0.0 % 0.0 % believable 0.0 % 0.9996 ε", page
        )
        self.assertNotIn("RobustBench", page)
        self.assertIn("RobustBench", self.words(self.results(data="cifar10")))

    def test_what_is_wrong_is_named_with_its_sentence(self):
        results = self.results(largest=0.6, lost_to_other=200)
        page = self.words(results)
        self.assertIn("D R outside the ball, beaten by another attack", page)
        said = self.evidence(results)["evidence-on_D_R-test-pgd-0.5-100"]
        for part in (
            "ε = 0.5 (PGD, ℓ₂, 100 steps), the test images: ",
            "✗ outside the ball, beaten by another attack.",
            "Seed 1: outside the ball. A perturbation has l2 norm 0.6",
            "Of 2 × 1000 images: right without attack 1954, and under it 1114, ",
            "lost to another attack 400, ",
            "largest change 1.2000 ε, 128 found of 128 planted.",
        ):
            self.assertIn(part, said)
        said = self.evidence(self.results(only_blind=200))
        name = "evidence-on_D_R-test-AutoAttack-0.5-0"
        self.assertIn("Seed 0: gradients mislead. 200 of 1000", said[name])
        self.assertIn("Not checked: a very large epsilon, more steps", said[name])

    def evidence(self, results):
        """What is said of each marked accuracy, by its address."""
        section = evidence.section(results)
        items = re.findall(r'<li id="(.*?)">(.*?)</li>', section, flags=re.DOTALL)
        return {address: words(of) for address, of in items}

    def test_every_mark_leads_to_its_evidence(self):
        results = self.results(lost_to_other=200)
        for row in results["rows"]:
            if row["epsilon"] == 0.25:
                row["evidence"] = pages.fake_evidence(400, row["correct"], 500)
        results["tables"] = rows("D_R", 200, on="D_R_test", epsilon=0.5)
        results["config"]["tables"] = {}
        for row in results["tables"]:
            row["evidence"] = pages.fake_evidence(400, 200, 500)
        student = fake_network("mlp_on_D_R", "D_R", "students") | {"learner": "mlp"}
        results["networks"].append(student)
        results["students"] = [
            fake_row("mlp_on_D_R", "D_R", 150, seed=seed, epsilon=0.5)
            for seed in (0, 1)
        ]
        results["autoattack"] += [
            pages.fake_autoattack("mlp_on_D_R", seed, (977, 300, 290))
            for seed in (0, 1)
        ]
        source = main.html({**results, "history": {}}, {})
        cells = re.findall(r"<t[dh][ >].*?</t[dh]>", source, flags=re.DOTALL)
        marked = [cell for cell in cells if "✓" in cell or "✗" in cell]
        links = [re.findall(r'href="#(evidence-.*?)"', cell) for cell in marked]
        self.assertEqual([len(of) for of in links], [1] * len(marked))
        # The main table, again with the learner, AutoAttack's, D_R on two sets.
        self.assertLen(marked, 2 * (6 + 2 * 3) + 2 + 2 * 4 + 2)
        by_autoattack = ["AutoAttack" in to for (to,) in links[26:34]]
        self.assertEqual(by_autoattack, [False, True] * 4)
        listed = self.evidence(results)
        self.assertEqual({to for (to,) in links}, set(listed))
        self.assertIn(
            "D R made of the test images: 40.0 %, ✓", "".join(listed.values())
        )
        pages.check_page(self, source)

    def test_the_main_table_says_what_autoattack_found(self):
        results = self.results(lost_to_other=200)
        marked = [
            (network.title, column.label, measure.wrong)
            for network, cells in measures(results).items()
            for column, measure in cells.items()
            if measure.wrong is not None
        ]
        self.assertEqual(
            marked,
            [
                ("D, standard", "ε = 0.5", ()),
                ("D, standard", "ε = 0.5, AutoAttack", ()),
                ("D, adversarial", "ε = 0.5", ()),
                ("D, adversarial", "ε = 0.5, AutoAttack", ()),
                ("D_R", "ε = 0.5", ("beaten by another attack",)),
                ("D_R", "ε = 0.5, AutoAttack", ()),
            ],
        )
        text = report.table(results)
        self.assertIn("✗ beaten by another attack |", text)
        # The strongest is met first.
        heads = re.findall(r"robust, (.*?) +\|", text)
        self.assertEqual(heads[:2], ["ε = 0.5, AutoAttack", "ε = 0.5"])
        self.assertIn("AutoAttack: its standard sequence", text)
        self.assertIn("✗ names those that did not", text)
        self.assertNotIn("✗", report.table(fake_results()))


class FeaturesTest(parameterized.TestCase):
    def entry(self, network, seed, verdicts, gamma=0.2):
        return {
            **dict(network=network, seed=seed, images=250, constant=[3, 7]),
            "layer_robustness": 0.25 if network == "robust" else 0.5,
            "rows": [
                {"rho": 0.5, "gamma_attacked": gamma, "verdict": verdict}
                for verdict in verdicts
            ],
        }

    def results(self, certificate=None):
        results = fake_results()
        settings = {"norm": "l2", "epsilon": 0.5, "steps": 20, "useful": 0.1}
        results["config"]["features"] = {**settings, "certificate": certificate}
        weak = ["useful, not robust"] * 3
        results["features"] = [
            self.entry("standard", 0, [*weak, "undecided"], -7.0),
            self.entry("standard", 1, [*weak, "not useful"], -0.3),
            self.entry("robust", 0, ["robustly useful"] * 4),
            self.entry("robust", 1, ["robustly useful"] * 3 + ["undecided"]),
        ]
        return results

    def test_nothing_where_nothing_was_measured(self):
        self.assertEqual(features.section({"features": []}), "")
        self.assertEqual(features.section({}), "")

    def test_every_verdict_has_a_look(self):
        self.assertEqual(set(features.VERDICTS), set(nrf_features.VERDICTS))

    def test_section(self):
        section = features.section(self.results())
        self.assertEqual(section.count("<svg"), 3)
        self.assertEqual(section.count('role="img" aria-label'), 3)
        page = words(section)
        # Shares of all pairs of both seeds.
        for said in (
            "robustly useful useful, not robust undecided not useful pairs",
            "D, standard 0.0 % 75.0 % 12.5 % 12.5 % 8 4 0.500",
            "D, adversarial 87.5 % 0.0 % 12.5 % 0.0 % 8 4 0.250",
            "ε = 0.5, 20 steps, 250 test images",
            "and seed",
            "No certificate was asked for",
        ):
            self.assertIn(said, page)
        self.assertIn('href="features.csv"', section)
        self.assertIn("Certified means", features.section(self.results("linear")))

    def test_what_is_below_the_frame_is_at_its_edge(self):
        ((network, entries), _) = by_network(self.results(), "features").items()
        drawn = features.scatter(network, entries)
        self.assertIn("8 pairs of unit and class", drawn)
        heights = [float(y) for y in re.findall(r'<use [^>]*y="([\d.]+)"', drawn)]
        self.assertLess(np.ptp(heights), 400)


@functools.cache
def plane(epsilon=0.15):
    return nrf_features.plane(*planted.load(300), classes=(0, 1), epsilon=epsilon)


def ticks(drawn):
    """How many of the <use> elements are ticks of axes."""
    pattern = r'<g id="[^"]*tick_\d+">.*?</g>\s*</g>'
    groups = re.findall(pattern, drawn, flags=re.DOTALL)
    return sum(group.count("<use") for group in groups)


class PlaneTest(parameterized.TestCase):
    def test_nothing_where_nothing_was_measured(self):
        self.assertEqual(linear.planes({}), "")
        self.assertEqual(linear.planes({"plane": []}), "")

    def test_section(self):
        source = linear.planes({"plane": [plane()]})
        self.assertEqual(source.count("<svg"), 1)
        page, mixed = words(source), plane()["containment"]
        for said in (
            "The 64 principal directions",
            "bright above against bright below (300 training images)",
            "ρ around 0.058 here",
            f"Beyond ε = {plane()['limit']:.2f}, half the distance",
            "ensemble 63 directions the best has ρ = 0.362",
        ):
            self.assertIn(said, page)
        self.assertRegex(page, r"2 directions of ρ = 0\.00\d and ρ = 0\.8")
        self.assertRegex(
            page,
            rf"{mixed['train']['rho']:.3f} \S+ \[\S+, \S+\] "
            r"−0\.\d+ \[−0\.\d+, −0\.\d+\] useful, not robust",
        )

    def test_every_direction_is_drawn_and_colours_are_those_of_features(self):
        drawn = linear.scatter(plane())
        kinds = {point["verdict"] for point in plane()["directions"]}
        for said in kinds:
            self.assertIn(features.VERDICTS[said][0], drawn)
            self.assertIn(said, drawn)
        # And one in the legend for each verdict; two for every construction.
        count = 64 + len(kinds) + 2 * 3 + ticks(drawn)
        self.assertEqual(drawn.count("<use"), count)
        for label in ("most useful, training", "the same on test images", "γ = 0 at"):
            self.assertIn(label, drawn)

    def test_what_is_below_the_frame_is_at_its_edge(self):
        faint = plane() | {"directions": [dict(p) for p in plane()["directions"]]}
        faint["directions"][3]["rho"] = 1e-9
        drawn = linear.scatter(faint)
        heights = [float(y) for y in re.findall(r'<use [^>]*y="([\d.-]+)"', drawn)]
        self.assertLess(max(heights), 400)

    def test_constructions_that_are_not_possible(self):
        page = words(linear.planes({"plane": [plane(0.0)]}))
        for name in ("ensemble", "containment"):
            self.assertIn(f"{name} not possible here – – – – –", page)
        drawn = linear.scatter(plane(0.0))
        self.assertNotIn("ensemble", drawn)
        # At ε = 0 no feature is lost.
        self.assertNotIn("γ = 0 at", drawn)


class LeakageTest(parameterized.TestCase):
    def entry(self, seed, rand=200, det=60, robust=9):
        """Of one seed; shuffled labels give 5 to 20 % of 500."""

        def score(correct):
            return {"correct": correct, "total": 500, "shuffled": [25, 50, 100]}

        return {
            **dict(seed=seed, norm="l2", epsilon=0.25, features=10, robust=robust),
            "gammas": [-0.08, 0.42],
            "D_rand": score(rand) if robust else None,
            "D_det": score(det) if robust else None,
        }

    def section(self, *entries):
        return linear.leakage({"leakage": entries, "classes": list("abcdefghij")})

    def test_nothing_where_nothing_was_measured(self):
        self.assertEqual(linear.leakage({"classes": [1, 2]}), "")
        self.assertEqual(self.section(), "")

    def test_section(self):
        page = words(self.section(self.entry(0), self.entry(1)))
        for said in (
            "ℓ₂, ε = 0.25",
            "The outputs have γ from −0.08 to 0.42.",
            "mean of 2 seeds",
            "right for 10.0 %",
        ):
            self.assertIn(said, page)

    def test_rows(self):
        head, rows = linear.leaked([self.entry(0), self.entry(1, rand=240)])
        self.assertEqual([row[0] for row in rows], ["D_rand", "D_det"])
        self.assertEqual([len(row) for row in rows], [len(head)] * 2)
        expected = ["D_rand", "9 of 10", "44.0 %|[39.7, 48.4]", "11.7 %|5.0 to 20.0"]
        self.assertEqual(rows[0], [*expected, "above chance", "23.5 %"])
        self.assertEqual(rows[1][-2:], ["chance", "6.8 %"])
        _, rows = linear.leaked([self.entry(0, det=20)])
        self.assertEqual(rows[1][-2], "below chance")

    def test_a_set_of_right_labels_is_shown_first(self):
        one = self.entry(0)
        _, rows = linear.leaked([one | {"D": one["D_rand"]}])
        self.assertEqual([row[0] for row in rows], ["D", "D_rand", "D_det"])
        self.assertEqual(rows[0][-1], "–")

    def test_seeds_without_a_robust_feature(self):
        none = self.entry(0, robust=0)
        _, rows = linear.leaked([none])
        self.assertEqual(rows[0][1:3], ["0 of 10", "–|no feature is robust"])
        self.assertIn("no feature is robust", words(self.section(none)))
        _, rows = linear.leaked([none, self.entry(1)])
        self.assertEqual(rows[0][1], "0 of 10, 9 of 10")
        self.assertIn("1 of 2 seeds", rows[0][2])
