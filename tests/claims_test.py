"""The paper's claims on invented results, where it is known what they show."""

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pages
from absl.testing import parameterized
from pages import fake_autoattack, fake_evidence, fake_results, with_accuracy

from nrf import report
from nrf.evaluate import Evidence
from nrf.evaluate.statistics import pack, paired, unpack
from nrf.report import claims, differences, judge, main, strongest
from nrf.report.judge import (
    NOT_JUDGED,
    NOT_MEASURED,
    NOT_SHOWN,
    REVERSED,
    SHOWN,
    Verdict,
)
from nrf.report.results import CLEAN, Column, Measure, find, reported

AT = Column("pgd", "l2", 0.5, 100)
STRONG = Column("AutoAttack", "l2", 0.5)


def verdicts(results):
    return [claim.verdict for claim in claims.claims(results)]


def with_seeds(results, trained_on, counts, epsilon=0.5):
    """The same, with the counts of one network under attack, one for each seed."""
    rows = [
        {**row, **pages.counted(counts[row["seed"]])}
        if (row["trained_on"], row["training"]) == (trained_on, "standard")
        and row["epsilon"] == epsilon
        else row
        for row in results["rows"]
    ]
    return {**results, "rows": rows}


def with_evidence(results, trained_on, **changes):
    """The same, with evidence of every attacked row, and changes of one network's."""
    rows = [dict(row) for row in results["rows"]]
    for row in rows:
        if row["epsilon"]:
            more = changes if row["trained_on"] == trained_on else {}
            row["evidence"] = fake_evidence(500, row["correct"], **more)
    return {**results, "rows": rows}


def with_autoattack(results, counts, on_pgd=None, **strongest):
    """The same, with AutoAttack's counts of 1,000 images by network, in every seed.

    PGD leaves as many more, where `on_pgd` names a network, that it carries a mark.
    """
    entries = []
    for seed in (0, 1, 2):
        for name, count in counts.items():
            lost = {"lost_to_other": 100} if name == on_pgd else {}
            entry = fake_autoattack(name, seed, (970, count + 50, count), **lost)
            if name == "on_D_R":
                entry["evidence"]["autoattack"] |= strongest
            entries.append(entry)
    settings = {**results["config"], "autoattack": {"steps": 100, "queries": 5000}}
    return {**results, "autoattack": entries, "config": settings}


class ClaimsTest(parameterized.TestCase):
    def test_all_shown(self):
        self.assertEqual(verdicts(fake_results()), [SHOWN] * 5)

    @parameterized.parameters(
        ("D_R", 0.213, "pgd", 0, NOT_SHOWN),  # As robust as D.
        ("D_R", 0.1, "pgd", 0, REVERSED),
        ("D_NR", 0.536, "pgd", 1, NOT_SHOWN),  # As robust as D_R.
        ("D_NR", 0.8, "pgd", 1, REVERSED),
        ("D_NR", 0.35, "pgd", 2, NOT_SHOWN),  # More robust than D.
        ("D_NR", 0.1, "none", 2, NOT_SHOWN),
        ("D_rand", 0.12, "none", 3, NOT_SHOWN),  # Above chance, within the interval.
        ("D_det", 0.0, "none", 4, REVERSED),
    )
    def test_others(self, trained_on, accuracy, attack, index, expected):
        changed = with_accuracy(fake_results(), trained_on, accuracy, attack)
        self.assertEqual(verdicts(changed)[index], expected)

    def test_a_constant_answer_is_not_robust(self):
        results = fake_results()
        for trained_on, accuracy in (("D", 0.0), ("D_NR", 0.0), ("D_R", 0.1)):
            results = with_accuracy(results, trained_on, accuracy, "pgd")
        self.assertEqual(verdicts(results)[:2], [NOT_SHOWN] * 2)

    def test_seeds_that_agree_too_little_show_nothing(self):
        # D_R less D in three seeds: 19.2, 6.4 and 12.2 points; in every one above 0,
        # and 95 % intervals of the means do not overlap.
        results = with_seeds(fake_results(), "D", (150, 150, 150))
        results = with_seeds(results, "D_R", (246, 182, 211))
        (claim, *_) = claims.claims(results)
        self.assertEqual(claim.verdict, NOT_SHOWN)
        self.assertIn("+12.6 points (seeds [−3.3, 28.5], images [", claim.measured)
        # The same mean is shown where seeds agree.
        results = with_seeds(results, "D_R", (216, 210, 213))
        self.assertEqual(verdicts(results)[0], SHOWN)

    def test_images_that_agree_too_little_show_nothing(self):
        # 7 of 500 images more in every seed, but other ones: 60 gained, 53 lost.
        results = with_seeds(fake_results(), "D", (200, 200, 200))
        results = with_seeds(results, "D_R", (207, 207, 207))
        self.assertEqual(verdicts(results)[0], SHOWN)
        right = np.arange(500) < 147
        right[200:260] = True
        for row in results["rows"]:
            if (row["trained_on"], row["epsilon"]) == ("D_R", 0.5):
                row["right"] = pack(right)
        self.assertEqual(verdicts(results)[0], NOT_SHOWN)

    def test_a_number_with_a_mark_is_not_judged(self):
        results = with_evidence(fake_results(), "D_R", missed=200, lost_to_other=200)
        judged = claims.claims(results)
        self.assertEqual(verdicts(results), [NOT_JUDGED] * 2 + [SHOWN] * 3)
        reason = (
            "D_R carries ✗ at ε = 0.5 (vanishing gradient, beaten by another attack)"
        )
        self.assertEqual(judged[0].reason, reason)
        words = pages.words(main.html(pages.without_plots(results, ("pgd",)), {}))
        self.assertIn("gives robustness. Not judged : D R carries ✗ at", words)
        self.assertIn(f"not judged, because {reason}.", main.markdown_page(results))
        # A mark on D_NR takes nothing from D_R against D.
        results = with_evidence(fake_results(), "D_NR", missed=200)
        expected = [SHOWN, NOT_JUDGED, NOT_JUDGED, SHOWN, SHOWN]
        self.assertEqual(verdicts(results), expected)

    def test_one_seed_is_not_judged(self):
        judged = claims.claims(fake_results(seeds=(0,)))
        self.assertEqual({claim.verdict for claim in judged}, {NOT_JUDGED})
        self.assertEqual({claim.reason for claim in judged}, {judge._ONE_SEED})

    def test_chance_depends_on_the_classes(self):
        results = with_accuracy(fake_results(), "D_det", 0.43, "none")
        self.assertEqual(verdicts(results)[4], SHOWN)
        results["classes"] = ["left", "right"]
        judged = claims.claims(results)
        self.assertEqual(judged[4].verdict, REVERSED)
        self.assertIn("above chance, 50.0 %", judged[4].measured)
        self.assertIn("right for one image in 2,", judged[3].measured)

    def test_labels_of_d_rand_are_not_said_to_be_wrong(self):
        d_rand, d_det = claims.claims(fake_results())[3:]
        self.assertIn("right for one image in 10,", d_rand.measured)
        self.assertNotIn("wrong", d_rand.title + d_rand.measured)
        self.assertIn("always wrong", d_det.title)

    def test_not_measured_and_not_claimed(self):
        results = fake_results(epsilons=())
        self.assertEqual(verdicts(results), [NOT_MEASURED] * 3 + [SHOWN] * 2)
        results["sets"] = results["sets"][3:]
        (claim,) = claims.claims(results)
        self.assertStartsWith(claim.title, "D_det")

    def test_results_of_an_earlier_version_say_which_run_to_make(self):
        results = fake_results()
        for row in results["rows"]:
            del row["right"]
        judged = claims.claims(results)
        # Chance needs no pairs; D_NR is compared with D.
        expected = [NOT_JUDGED] * 3 + [SHOWN] * 2
        self.assertEqual([claim.verdict for claim in judged], expected)
        self.assertIn("make the run again, in a new folder", judged[0].reason)
        (row, *_) = differences.section(results).rows
        self.assertEqual(row[1:], ["not judged", "not judged", "–"])
        self.assertIn("again, in a new folder", main.markdown_page(results))

    def test_damaged_lists_of_images_are_refused(self):
        results = fake_results()
        results["rows"][0]["right"] = pack(np.zeros(500, bool))
        with self.assertRaisesRegex(ValueError, "D, standard at standard .* seed 0"):
            claims.claims(results)


class AutoAttackTest(parameterized.TestCase):
    EQUAL = {"standard": 400, "robust": 770, "on_D_R": 402, "on_D_NR": 100}
    APART = EQUAL | {"on_D_R": 530}

    def test_it_decides_where_it_was_run(self):
        judged = claims.claims(with_autoattack(fake_results(), self.EQUAL))
        self.assertEqual(judged[0].verdict, NOT_SHOWN)
        said = "Under attack (ε = 0.5, AutoAttack) it is right on 40.2 % [37.2, 43.3]"
        self.assertIn(said, judged[0].measured)
        self.assertIn("shown at ε = 0.25, ε = 1.", judged[0].measured)

    @parameterized.parameters("pgd", "pgd margin")
    def test_pgd_s_mark_does_not_count_under_it_and_its_own_does(self, attack):
        results = with_autoattack(fake_results(), self.APART, on_pgd="on_D_R")
        for row in results["rows"]:
            row["attack"] = attack if row["epsilon"] else "none"
        self.assertIn("✗ beaten by another attack", report.table(results))
        self.assertEqual(verdicts(results)[:3], [SHOWN] * 3)
        results = with_autoattack(fake_results(), self.APART, only_blind=200)
        (claim, *_) = claims.claims(results)
        self.assertEqual(claim.verdict, NOT_JUDGED)
        reason = "D_R carries ✗ at ε = 0.5, AutoAttack (gradients mislead)"
        self.assertEqual(claim.reason, reason)

    def test_pgd_decides_where_one_of_two_has_no_autoattack(self):
        some = {name: self.EQUAL[name] for name in ("robust", "on_D_R")}
        results = with_autoattack(fake_results(), some)
        (row,) = (r for r in differences.differences(results) if r.at.epsilon == 0.5)
        self.assertEqual(row.at, AT)
        self.assertEqual(verdicts(results)[0], SHOWN)

    def test_it_is_the_first_number_of_the_page_and_of_a_comparison(self):
        results = with_autoattack(fake_results(), {**self.APART, "on_D_NR": 100})
        few = pages.without_plots(results, ("none", "pgd"))
        source = main.html(few, {})
        bars = re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL)[1]
        self.assertIn("robust, ε = 0.5, AutoAttack", pages.words(bars))
        self.assertIn("53.0 %", pages.words(bars))
        heads = re.findall(r'<th scope="col">(robust.*?)</th>', source)
        self.assertIn("AutoAttack", heads[0])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "results.json")
            path.write_text(json.dumps(results))
            table, html = report.compare([folder])
        self.assertIn(", ε = 0.5, AutoAttack |", table.splitlines()[0])
        self.assertIn("| 53.0 % [49.9, 56.1] ± 0.0 ✓ ", table)
        # Where PGD has no more radii, it is the one that has them all the same.
        single = with_autoattack(fake_results(epsilons=(0.5,)), self.APART)
        self.assertEqual(reported(single, strongest.measures(single)), AT)
        evidence = results["autoattack"][0]["evidence"]["autoattack"]
        (remark,) = Evidence.from_dict(evidence).remarks
        for page in (source, html, main.markdown_page(results)):
            self.assertIn(remark, pages.words(page))

    def test_its_images_are_compared_in_pairs(self):
        results = with_autoattack(fake_results(), self.APART)
        groups = strongest.measures(results)
        pair = {n: find(groups, n) for n in ("D_R", "D")}
        found = judge.compared(pair, STRONG).difference
        right = [np.arange(1000) < count for count in (530, 400)]
        expected = paired(*(np.stack([one] * 3) for one in right))
        self.assertEqual(found, expected)
        self.assertAlmostEqual(found.mean, 0.13)

    def test_pgd_s_images_are_known_too(self):
        entries = [fake_autoattack("on_D_R", s, (970, 580, 530)) for s in (0, 1)]
        measure = strongest.withstood(entries, "pgd")
        right = measure.right([0, 1])
        self.assertEqual(right.sum(1).tolist(), [587, 587])
        self.assertEqual(measure.by_seed, {0: 0.587, 1: 0.587})
        self.assertIsNone(strongest.withstood(entries, "apgd-t").right([0]))
        del entries[1]["right"]
        self.assertIsNone(strongest.withstood(entries, "square").packed)


class JudgeTest(parameterized.TestCase):
    def test_seeds_that_both_have_are_compared_in_pairs(self):
        rng = np.random.default_rng(0)
        right = rng.uniform(size=(2, 3, 40)) < [[[0.7]], [[0.4]]]

        def measure(rows, seeds):
            by_seed = dict(zip(seeds, rows.mean(1), strict=True))
            packed = dict(zip(seeds, map(pack, rows), strict=True))
            return {CLEAN: Measure(by_seed, 40, packed=packed)}

        networks = {
            "a": measure(right[0], (2, 0, 1)),
            "b": measure(right[1], (0, 1, 2)),
        }
        found = judge.compared(networks, CLEAN)
        self.assertEqual(found.difference, paired(right[0], right[1][[2, 0, 1]]))
        networks["b"] = measure(right[1], (0, 5, 2))
        found = judge.compared(networks, CLEAN)
        self.assertEqual(found.difference, paired(right[0][:2], right[1][[2, 0]]))
        networks["b"] = measure(right[1], (5, 6, 7))
        found = judge.compared(networks, CLEAN)
        self.assertIsNone(found.difference)
        self.assertEqual(found.verdict.word, NOT_JUDGED)

    def test_other_images_are_not_compared(self):
        measures = {
            name: {CLEAN: Measure({0: 0.5, 1: 0.5}, total, packed={})}
            for name, total in (("a", 40), ("b", 50))
        }
        found = judge.compared(measures, CLEAN)
        self.assertIsNone(found.difference)
        self.assertEqual(found.doubt, "they were tested on 40 and on 50 images")
        self.assertIsNone(judge.compared(measures, AT))

    def test_against_a_fixed_accuracy(self):
        cells = {CLEAN: Measure({0: 0.3, 1: 0.32, 2: 0.28}, 500)}
        of = judge.beyond("a", cells, 0.1)
        self.assertAlmostEqual(of.difference.mean, 0.2)
        half = 4.302653 * 0.02 / np.sqrt(3)
        np.testing.assert_allclose(
            of.difference.over_seeds, (0.2 - half, 0.2 + half), rtol=1e-6
        )
        # Wilson's, of 150 in 500: 26.15 to 34.16 %.
        np.testing.assert_allclose(
            of.difference.over_images, (0.1615, 0.2416), atol=1e-4
        )
        self.assertEqual(of.verdict, Verdict(SHOWN))
        self.assertEqual(judge.beyond("a", cells, 0.5).verdict, Verdict(REVERSED))
        self.assertEqual(judge.beyond("a", cells, 0.27).verdict, Verdict(NOT_SHOWN))
        marked = {CLEAN: cells[CLEAN]._replace(wrong=("not finite",))}
        of = judge.beyond("a", marked, 0.1)
        self.assertEqual(of.verdict.reason, "a carries ✗ at standard (not finite)")
        self.assertIsNone(judge.beyond("a", {}, 0.1))

    def test_conditions(self):
        cells = {CLEAN: Measure({0: 0.3, 1: 0.3}, 500)}
        shown, reversed_ = (judge.beyond("a", cells, at) for at in (0.1, 0.9))
        doubtful = shown._replace(doubt="why")
        for expected, *of in (
            (SHOWN, shown),
            (SHOWN, shown, Verdict(SHOWN), shown),
            (NOT_SHOWN, shown, reversed_),
            (NOT_SHOWN, shown, Verdict(NOT_SHOWN)),
            (NOT_JUDGED, shown, reversed_, doubtful),
            (NOT_JUDGED, doubtful, shown),
            (REVERSED, reversed_, doubtful),
            (NOT_MEASURED, None, shown),
            (NOT_MEASURED, shown, None),
        ):
            self.assertEqual(judge.where(*of).word, expected)
        self.assertEqual(judge.where(doubtful).reason, "why")
        for expected, of in (
            (NOT_SHOWN, shown),
            (SHOWN, reversed_),
            (NOT_JUDGED, doubtful),
        ):
            self.assertEqual(judge.unless(of).word, expected)
        self.assertIsNone(judge.unless(None))


def with_students(results):
    """The same, with the rows of an MLP: its D_R has 40 of 500 images more than D."""
    sets = ("D", "D_R", "D_NR")
    networks = [
        {
            **pages.fake_network(
                f"mlp_on_{name}", name, "students", title=f"{name}, mlp"
            ),
            "learner": "mlp",
        }
        for name in sets
    ]
    counts = {"D": 200, "D_R": 240, "D_NR": 100}
    rows = [
        pages.fake_row(f"mlp_on_{name}", name, counts[name] + seed, seed=seed, **at)
        for name in sets
        for seed in (0, 1, 2)
        for at in ({}, {"epsilon": 0.25}, {"epsilon": 0.5})
    ]
    return {
        **results,
        "networks": results["networks"] + networks,
        "students": rows,
    }


class DifferencesTest(parameterized.TestCase):
    def test_every_radius_and_what_is_reversed(self):
        results = with_accuracy(fake_results(), "D_R", 0.3, "pgd", epsilon=0.25)
        rows = differences.differences(results)
        self.assertEqual([row.at.epsilon for row in rows], [0.25, 0.5, 1.0])
        for row in rows:
            for name, of in row.against.items():
                right = [
                    np.stack(
                        [
                            unpack(r["right"], 500)
                            for r in results["rows"]
                            if r["epsilon"] == row.at.epsilon
                            and (r["trained_on"], r["training"]) == (on, "standard")
                        ]
                    )
                    for on in ("D_R", name)
                ]
                self.assertEqual(of.difference, paired(*right))
        words = [row.against["D"].verdict.word for row in rows]
        self.assertEqual(words, [REVERSED, SHOWN, SHOWN])
        (claim, *_) = claims.claims(results)
        self.assertIn(
            "other radii: reversed at ε = 0.25; shown at ε = 1.", claim.measured
        )
        section = differences.section(results)
        self.assertEqual(section.head[1:3], ["D_R − D", "D_R − D_NR"])
        self.assertEqual(section.rows[0][3], "−38 %")
        self.assertLen(section.rows, 3)
        self.assertRegex(
            section.rows[0][1],
            r"^−14\.8: reversed\|seeds \[−\d+\.\d, −\d+\.\d\]\|images \[−\d",
        )
        for text in (main.markdown_page(results), pages.words(main.html(results, {}))):
            self.assertIn("−14.8: reversed", text)

    def test_how_much_of_the_teacher_is_recovered(self):
        results = fake_results()
        for name, count in (("D", 0.2), ("D_R", 0.5)):
            results = with_accuracy(results, name, count, "pgd", epsilon=0.5)
        for row in results["rows"]:
            if row["training"] == "adversarial" and row["epsilon"] == 0.5:
                row.update(pages.counted(400))
        _, row, _ = differences.differences(results)
        self.assertAlmostEqual(row.recovered, 0.3 / 0.6)
        self.assertEqual(differences.section(results).rows[1][-1], "50 %")
        self.assertIn("that is 50 %.", claims.claims(results)[0].measured)
        # A teacher that is no better than D has nothing to recover.
        for row in results["rows"]:
            if row["training"] == "adversarial":
                row.update(pages.counted(100))
        self.assertIsNone(differences.differences(results)[1].recovered)

    def test_the_paper_s_share(self):
        share, at = differences.published()
        self.assertAlmostEqual(share, (48.27 - 4.49) / (82.48 - 4.49))
        self.assertEqual(at, 0.25)
        self.assertIn(
            "in the paper 56 % at half the radius of that training (0.25 on CIFAR-10)",
            main.markdown_page(fake_results()),
        )

    def test_students_beside_the_network(self):
        results = with_students(fake_results())
        self.assertEqual(differences.learners(results), ["network", "mlp"])
        rows = differences.differences(results, "mlp")
        self.assertEqual([row.at.epsilon for row in rows], [0.25, 0.5])
        of = rows[1].against["D"]
        self.assertAlmostEqual(of.difference.mean, 0.08)
        self.assertEqual(of.verdict.word, SHOWN)
        # The teacher is the experiment's own.
        groups = strongest.measures(results)
        teacher = find(groups, "D", "adversarial")[AT].mean
        self.assertAlmostEqual(rows[1].recovered, 0.08 / (teacher - 201 / 500))
        section = differences.section(results)
        self.assertEqual(section.head[0], "learner")
        self.assertEqual(
            [row[0] for row in section.rows], ["network"] * 3 + ["mlp"] * 2
        )
        # The network's own numbers are not mixed with theirs, nor theirs with others'.
        other = pages.fake_network("linear_on_D", "D", "students")
        results["networks"].append(other | {"learner": "linear"})
        results["students"].append(pages.fake_row("linear_on_D", "D", 100))
        kinds = {n.learner for n in differences.of_learner(results, "mlp")}
        self.assertEqual(kinds, {"mlp"})
        own = differences.differences(fake_results())
        self.assertEqual(differences.differences(results), own)
        self.assertEqual(verdicts(results), verdicts(fake_results()))

    def test_why_some_are_not_judged_is_said_once(self):
        one = differences.section(fake_results(seeds=(0,)))
        self.assertEqual(one.doubts, [judge._ONE_SEED])
        self.assertRegex(one.rows[0][1], r"^\+\d+\.\d: not judged\|images \[\d")
        marked = with_evidence(fake_results(), "D", missed=200)
        for row in marked["rows"]:
            if row["epsilon"] == 0.25 and "evidence" in row:
                row["evidence"]["missed"] = 0
        self.assertEqual(
            differences.section(marked).doubts,
            [f"D carries ✗ at ε = {at} (vanishing gradient)" for at in (0.5, 1)],
        )
        marked = with_students(marked)
        for row in marked["students"]:
            if row["trained_on"] == "D_R" and row["epsilon"] == 0.25:
                row["evidence"] = fake_evidence(500, 240, missed=200)
        self.assertEqual(
            differences.section(marked).doubts[1:],
            [
                "network: D carries ✗ at ε = 1 (vanishing gradient)",
                "mlp: D_R carries ✗ at ε = 0.25 (vanishing gradient)",
            ],
        )
        self.assertEqual(differences.section(fake_results()).doubts, [])

    def test_nothing_without_attacks_or_d_r(self):
        self.assertIsNone(differences.section(fake_results(epsilons=())))
        results = fake_results()
        results["rows"] = [r for r in results["rows"] if r["trained_on"] != "D_R"]
        self.assertIsNone(differences.section(results))
        self.assertNotIn("every radius", main.markdown_page(results))
