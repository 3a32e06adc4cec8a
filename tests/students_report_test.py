"""The page's sections on other learners, and on how close the classes are."""

import re

import pages
from absl.testing import parameterized
from pages import fake_network, fake_results, fake_row, fake_set

from nrf import report
from nrf.report import closeness, main, students, tables

SEEDS = (0, 1, 2)
RECIPE = {"kind": "nrf.experiments.recipes.Mislabel", "attack": pages.ATTACK}
TRAINING = {
    **{"epochs": 20, "batch_size": 64, "learning_rate": 0.1, "weight_decay": 0.002},
    "attack": None,
}


def student_row(learner, on, correct, **more):
    return fake_row(f"{learner}_on_{on}", on, correct, **more)


def results(wobble=0, **counts):
    """A run with students; counts of right images under attack, by network.

    Those on D_R differ by `wobble` from seed to seed.
    """
    made = fake_results()
    right = {
        **{"mlp_on_D": 300, "mlp_on_D_R": 200},
        **{"linear_on_D": 250, "linear_on_D_R": 255, **counts},
    }
    made["config"]["students"] = {
        "mlp": {"network": {"kind": "nrf.models.architectures.MLP", "widths": [7, 9]}},
        "linear": {"network": {"kind": "nrf.models.architectures.Linear"}},
    }
    for one in made["config"]["students"].values():
        one["training"] = TRAINING
    made["students"] = []
    for name, count in right.items():
        learner, _, on = name.partition("_on_")
        network = fake_network(name, on, "students", title=f"{on}, {learner}")
        made["networks"].append({**network, "learner": learner})
        for seed in SEEDS:
            at = {"seed": seed, "epsilon": 0.5}
            if learner == "linear":
                at["exact"] = count - 100 - seed
            clean = student_row(learner, on, 450, seed=seed)
            moved = wobble * (seed - 1) if on == "D_R" else 0
            attacked = student_row(learner, on, count + moved, **at)
            made["students"] += [clean, attacked]
    return made


def counted(target, true, other):
    return {"target": target, "true": true, "other": other}


def pushed(seed, name, **more):
    return {
        **{"set": name, "norm": "l2", "epsilon": 1.5, "images": 200, "total": 100},
        **{"between_classes": 1.875, "share": 0.8, "nearest": counted(18, 80, 2)},
        **{"linear": counted(30 + seed, 60 - seed, 10), **more},
    }


def matched(seed, name):
    def of(mean):
        return {"mean": mean, "median": mean / 2, "largest": 3 * mean}

    long = of(0.01 * (1 + seed))
    far = {"start": of(4.0), "stored": of(0.25), "long": long}
    return {"set": name, "images": 100, "steps": 1000, **far}


def close(robust, **changes):
    """With closeness; D_rand's twin has so many right images, by seed."""
    made = results(**changes)
    made["config"]["closeness"] = {"images": 200, "matched": 100, "steps": 1000}
    twins = {"D_rand": "standard", "D_rand_robust": "robust"}
    made["config"]["sets"] = [
        {"name": name, "recipe": RECIPE, "of": "D", "source": source}
        for name, source in twins.items()
    ]
    made["sets"].append(fake_set("D_rand_robust", title="D_rand, robust source"))
    made["networks"].insert(6, fake_network("on_D_rand_robust", "D_rand_robust"))
    made["rows"] += [
        fake_row("on_D_rand_robust", "D_rand_robust", correct, seed=seed)
        for seed, correct in zip(SEEDS, robust, strict=True)
    ]
    made["closeness"] = [
        {
            "seed": seed,
            "pushed": [pushed(seed, name) for name in twins],
            "matched": [matched(seed, "D_R")],
        }
        for seed in SEEDS
    ]
    return made


def words(source):
    source = re.sub(r"<svg.*?</svg>", "", source, flags=re.DOTALL)
    # Letters below the line are read on.
    return pages.words(re.sub(r"<sub>(.*?)</sub>", r"_\1", source)).strip()


class StudentsTest(parameterized.TestCase):
    def test_a_row_for_every_learner_and_set(self):
        rows = students.rows(results())
        named = [row[:2] for row in rows]
        self.assertEqual(
            named[:3],
            [
                ["network", "D, standard"],
                ["network", "D, adversarial"],
                ["network", "D_R"],
            ],
        )
        self.assertEqual(
            named[6:],
            [["mlp", "D"], ["mlp", "D_R"], ["linear", "D"], ["linear", "D_R"]],
        )
        # What verdicts are given at stands first.
        self.assertStartsWith(rows[7][2], "40.0 %|[")
        self.assertNotIn("at least", str(rows[6:8]))

    def test_what_is_exact_of_linear_students(self):
        *_, row = students.rows(results())
        # 155, 154 and 153 of 500.
        self.assertEndsWith(row[2], "|at least 30.8 %")
        self.assertNotIn("at least", row[3])

    def test_for_whom_it_holds(self):
        said = " ".join(students.sentences(results(wobble=3)))
        self.assertIn(
            "more robust than on D, at ε = 0.5, is shown for network: +", said
        )
        self.assertIn("reversed for mlp: −20.0 points (seeds [", said)
        self.assertIn("not shown for linear: +1.0 points", said)

    def test_who_they_are(self):
        said = students.sentences(results())
        self.assertIn(
            "The learner “mlp”: MLP of widths 7, 9; 20 epochs, batches of 64, learning "
            "rate 0.1, weight decay 0.002.",
            said,
        )
        self.assertIn("The learner “linear”: Linear; 20 epochs", said[-1])

    def test_nothing_without_students(self):
        self.assertEqual(students.section(fake_results()), "")
        self.assertEmpty(students.sentences(fake_results()))

    def test_they_are_no_part_of_the_figure_and_its_trainings(self):
        made = results()
        made["history"] |= {
            f"seed0/{one['name']}": [
                {"epoch": 1, "accuracy": 0.5, "test_accuracy": 0.5}
            ]
            for one in made["networks"]
            if one["group"] == "students"
        }
        self.assertLen(main.trainings(made), 6)
        self.assertNotIn("mlp", report.table(made))


class ClosenessTest(parameterized.TestCase):
    def test_the_share_of_the_distance_between_classes(self):
        first, *_ = closeness.sentences(close((400, 410, 420)))
        self.assertEqual(
            first,
            "The pushes of D_rand and D_rand, robust source (ℓ₂, ε = 1.5) are 80 % of "
            "the median distance from an image of D to the nearest one of another "
            "class, 1.88.",
        )

    @parameterized.parameters(
        ((430, 440, 450), "more", "not owed to non-robust features alone"),
        ((130, 140, 150), "less", "as it should"),
        ((100, 300, 500), "not shown to differ", "neither less nor more"),
    )
    def test_what_the_robust_source_teaches(self, counts, verdict, words):
        made = close(counts)
        (one,) = closeness.twins(made)
        self.assertEqual((one.learner, one.verdict), ("network", verdict))
        ours = [
            r for r in made["rows"] if r["network"] == "on_D_rand" and not r["epsilon"]
        ]
        expected = sum(counts) / 1500 - sum(r["correct"] for r in ours) / 1500
        self.assertAlmostEqual(one.compared.difference.mean, expected)
        self.assertIn(words, closeness.sentences(made)[1])

    def test_one_seed_is_not_judged(self):
        made = close((430, 440, 450))
        for part in ("rows", "students", "closeness"):
            made[part] = [one for one in made[part] if one["seed"] == 0]
        (one,) = closeness.twins(made)
        self.assertEqual(one.verdict, "not judged")
        self.assertIn("not judged, because one seed", closeness.sentences(made)[1])

    def test_twins_of_students_too(self):
        made = close((430, 440, 450))
        for on, count in (("D_rand", 300), ("D_rand_robust", 200)):
            network = fake_network(f"mlp_on_{on}", on, "students")
            made["networks"].append({**network, "learner": "mlp"})
            made["students"] += [
                student_row("mlp", on, count + seed, seed=seed) for seed in SEEDS
            ]
        found = {one.learner: one.verdict for one in closeness.twins(made)}
        self.assertEqual(found, {"network": "more", "mlp": "less"})

    def test_sets_of_other_recipes_are_no_twins(self):
        made = close((430, 440, 450))
        other = {**RECIPE, "attack": {**pages.ATTACK, "steps": 7}}
        made["config"]["sets"][1]["recipe"] = other
        self.assertEmpty(closeness.twins(made))

    def test_the_tables(self):
        text = words(closeness.section(close((430, 440, 450))))
        # Of three seeds: 18 of 100; 31, 60 − 1 and 10 of 100.
        self.assertIn("80 % 18.0 % 80.0 % 2.0 % 31.0 % 59.0 % 10.0 %", text)
        self.assertIn("D_R 4 2; 12 0.25 0.125; 0.75 0.02 0.01; 0.06", text)
        self.assertIn("D_rand, network", text)
        self.assertIn("of 100 images", text)

    def test_twins_of_the_figure_are_in_the_papers_tables_too(self):
        made = close((430, 440, 450))
        made["config"]["tables"] = {}
        made["tables"] = [
            fake_row("on_D_rand_robust", "D_rand_robust", 77, tested_on="relabelled")
        ]
        text = words(tables.section(made))
        self.assertIn("D_rand_robust 88.0 % [84.9, 90.6] ± 2.0 15.4 %", text)

    def test_without_a_linear_student(self):
        made = close((430, 440, 450))
        for entry in made["closeness"]:
            for one in entry["pushed"]:
                del one["linear"]
        text = words(closeness.section(made))
        self.assertIn("80 % 18.0 % 80.0 % 2.0 % D_rand", text)
        self.assertNotIn("linear:", text)

    def test_nothing_where_it_was_not_measured(self):
        self.assertEqual(closeness.section(results()), "")
        self.assertEmpty(closeness.sentences(results()))


class PageTest(parameterized.TestCase):
    def test_both_stand_on_the_page_and_in_the_text(self):
        made = close((430, 440, 450), wobble=3)
        source, text = main.html(made, {}), main.markdown_page(made)
        pages.check_page(self, source)
        for said in (*students.sentences(made), *closeness.sentences(made)):
            self.assertIn(re.sub(r"\s+", " ", said), words(source))
            self.assertIn(said, text)
