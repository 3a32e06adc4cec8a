"""Fields of a config as options: any depth, anybody's dataclasses, optional groups."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from absl.testing import parameterized

from nrf.config import comments, options


@dataclass(frozen=True)
class Attack:
    """An attack."""

    norm: Literal["l2", "linf"]  # The ball.
    epsilon: float  # Its radius.
    steps: int = 5
    """Gradient steps."""
    random: bool = False  # Whether it starts anywhere.

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}.")


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    And more.
    """

    epochs: int  # Times that every example is seen.
    rates: tuple[float, ...] = (0.5, 0.75)  # Of the schedule.
    # Adversarial training
    # when given.
    attack: Attack | None = None
    objective: Callable[[Any], Any] | None = None  # What it descends.


@dataclass(frozen=True)
class Weighted:
    beta: float = 6.0  # The weight of something.

    def __call__(self, model):
        return model


@dataclass(frozen=True)
class Match:
    steps: int  # Of matching.
    start: "Literal['image', 'noise']" = "image"  # Where it starts.

    def __call__(self, key, dataset, source, env):
        return dataset


def plain_recipe(key, dataset, env):
    return dataset


@dataclass(frozen=True)
class Set:
    name: str  # Of the set.
    recipe: Callable[..., Any]  # What makes it.
    source: str | tuple[str, ...] = ()  # What it is made with.
    train: Training | None = None  # Of the fresh network.


@dataclass(frozen=True)
class Mine:
    widths: tuple = (4, 8)  # Of my layers.
    drop: Any = 0.5  # Of my dropout.
    mixed: Any = (1, 0.5)  # Whole numbers and others.


@dataclass(frozen=True)
class Measure:
    """What is measured."""

    images: int  # How many.
    student: Training  # Trained for it.
    useful: float = 0.1  # A limit.


@dataclass(frozen=True)
class Work:
    batch: int = 500  # Images at once.
    refuse: bool = False  # End at a bad number.


@dataclass(frozen=True)
class Study:
    """A study of something."""

    data: Any  # The data: a name or arrays.
    network: Any  # The architecture.
    networks: Mapping[str, Training]  # On D.
    sets: tuple[Set, ...]  # Made in order.
    measure: Measure | None = None  # Measured when given.
    learners: tuple[Mine, ...] = ()  # Without names.
    seeds: tuple[int, ...] = (0,)  # All of them.
    examples: int | None = None  # None for all.
    weights: Mapping[str, float] = field(default_factory=dict)  # By name.
    folder: str | tuple[Mine, Mine] | None = None  # Of something.
    work: Work = field(default_factory=Work)  # What changes nothing.


STUDY = Study(
    data="digits",
    network=Mine(),
    networks={
        "standard": Training(3),
        "robust": Training(3, attack=Attack("l2", 1.0)),
        "out": Training(4, objective=Weighted()),
    },
    sets=(
        Set("D_R", Match(100), "robust", Training(2)),
        Set("robust", Match(50), ("standard", "robust")),
        Set("mine", plain_recipe),
    ),
    learners=(Mine(), Mine((5, 6))),
    weights={"a": 0.5},
)


def parse(line, config=STUDY):
    return options.parse(config, ["--out", "x", *line.split()])


def told(line, config=STUDY):
    """What tyro prints before it ends the program, and the exit code."""
    words = io.StringIO()
    with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
        try:
            parse(line, config)
        except SystemExit as end:
            return " ".join(re.sub("[│╭╮╰╯─]", " ", words.getvalue()).split()), end.code
    raise AssertionError("the program went on")


class ParseTest(parameterized.TestCase):
    def test_nothing_asked_changes_nothing(self):
        found = parse("")
        self.assertIs(found.config, STUDY)
        self.assertEqual(found.out, Path("x"))
        self.assertEqual(found.flags, options.Flags())

    @parameterized.parameters(
        ("--data cifar10", lambda c: c.data, "cifar10"),
        ("--seeds 3 4", lambda c: c.seeds, (3, 4)),
        ("--examples 60", lambda c: c.examples, 60),
        ("--work.batch 20", lambda c: c.work.batch, 20),
        # Values say the types that `Any` does not.
        ("--network.widths 1 2 3", lambda c: c.network.widths, (1, 2, 3)),
        ("--network.drop 0.25", lambda c: c.network.drop, 0.25),
        ("--network.mixed 2 0.25", lambda c: c.network.mixed, (2.0, 0.25)),
        ("--a 1", lambda c: c.weights, {"a": 1.0}),
        ("--folder here", lambda c: c.folder, "here"),
        # Mappings and tuples are passed through by name.
        ("--robust.attack.epsilon 0.5", lambda c: c.networks["robust"].attack.epsilon,
         0.5),
        ("--robust.attack.random True", lambda c: c.networks["robust"].attack.random,
         True),
        ("--standard.rates 0.1", lambda c: c.networks["standard"].rates, (0.1,)),
        ("--D-R.recipe.steps 7", lambda c: c.sets[0].recipe, Match(7)),
        ("--D_R.recipe.start=noise", lambda c: c.sets[0].recipe, Match(100, "noise")),
        ("--D-R.train.epochs 9", lambda c: c.sets[0].train, Training(9)),
        ("--mine.source D_R robust", lambda c: c.sets[2].source, ("D_R", "robust")),
        ("--learners.1.widths 9", lambda c: c.learners, (Mine(), Mine((9,)))),
        # A second container with the same name, and the name of a flag.
        ("--sets.robust.recipe.steps 8", lambda c: c.sets[1].recipe, Match(8)),
        ("--networks.out.epochs 1", lambda c: c.networks["out"].epochs, 1),
        ("--networks.out.objective.beta 2", lambda c: c.networks["out"].objective,
         Weighted(2.0)),
        # Groups are switched off, and on.
        ("--robust.attack None", lambda c: c.networks["robust"].attack, None),
        ("--robust.attack=None", lambda c: c.networks["robust"].attack, None),
        ("--networks.out.objective None", lambda c: c.networks["out"].objective, None),
        ("--measure None", lambda c: c.measure, None),
        ("--standard.attack.norm l2 --standard.attack.epsilon 2",
         lambda c: c.networks["standard"].attack, Attack("l2", 2.0)),
        ("--measure.images 5 --measure.student.epochs 1", lambda c: c.measure,
         Measure(5, Training(1))),
        ("--measure.images 5 --measure.student.epochs 1 "
         "--measure.student.attack.norm l2 --measure.student.attack.epsilon 1",
         lambda c: c.measure, Measure(5, Training(1, attack=Attack("l2", 1.0)))),
        ("--mine.train.epochs 2", lambda c: c.sets[2].train, Training(2)),
    )  # fmt: skip
    def test_changes_one_value(self, line, read, expected):
        changed = parse(line).config
        self.assertEqual(read(changed), expected)
        self.assertEqual(type(read(changed)), type(expected))

    def test_leaves_the_others(self):
        changed = parse("--robust.attack.epsilon 0.5 --D-R.recipe.steps 7").config
        robust = replace(STUDY.networks["robust"], attack=Attack("l2", 0.5))
        expected = replace(
            STUDY,
            networks={**STUDY.networks, "robust": robust},
            sets=(replace(STUDY.sets[0], recipe=Match(7)), *STUDY.sets[1:]),
        )
        self.assertEqual(changed, expected)
        self.assertIs(changed.network, STUDY.network)

    def test_flags(self):
        found = parse("--plan --quiet --reuse a b --refuse --tensorboard c")
        reuse = Path("a"), Path("b")
        self.assertEqual(found.flags, ("here", True, reuse, None, Path("c")))
        self.assertTrue(found.config.work.refuse)
        for line, where in (("--plan h100", "h100"), ("--plan", "here"), ("", None)):
            self.assertEqual(parse(line).flags.plan, where)

    @parameterized.parameters(
        ("--robust.attack.steps 0", "--robust.attack: steps must be at least 1, got 0"),
        (
            "--standard.attack.norm l2 --standard.attack.epsilon 1 "
            "--standard.attack.steps 0",
            "--standard.attack: steps must be",
        ),
        ("--standard.attack.steps 3", "needs --standard.attack.norm, "),
        ("--measure.useful 1", "measure is off.* --measure.images, --measure.st"),
        ("--robust.attack None --robust.attack.steps 3", "cannot be given as well"),
        ("--robust.attack 3", "takes None, which switches it off, or .*norm.*got '3'"),
        ("--robust None", "robust cannot be None"),
        ("--work 3", "--work takes options for its fields, --work.batch"),
    )  # fmt: skip
    def test_refuses_in_words(self, line, words):
        with self.assertRaisesRegex(options.OptionError, words):
            parse(line)

    @parameterized.parameters(
        ("--robust.atack.steps 3", "--robust.attack.steps"),
        ("--robust.attack.norm l1", "linf"),
        ("--seeds a", "--seeds"),
    )
    def test_tyro_refuses(self, line, words):
        said, code = told(line)
        self.assertEqual(code, 2)
        self.assertIn(words, said)

    def test_needs_out(self):
        with contextlib.redirect_stderr(io.StringIO()) as words:
            with self.assertRaises(SystemExit):
                options.parse(STUDY, [])
        self.assertIn("--out", words.getvalue())

    def test_help_has_a_sentence_for_every_field(self):
        said, code = told("--help")
        self.assertEqual(code, 0)
        for words in (
            "A study of something.",
            "--data STR The data: a name or arrays.",
            "--D-R.recipe.start {image,noise} Where it starts.",
            "--robust.attack.norm {l2,linf} The ball.",
            "--robust.attack.steps INT Gradient steps.",
            "--standard.epochs INT Times that every example",
            "Adversarial training when given. Switched off by --robust.attack None.",
            "--standard.attack {None} Adversarial training when given. Off; switched",
            "--sets.robust.recipe.steps INT Of matching.",
            "--D-R.train.attack {None} Adversarial training when given. Off; switched "
            "on by any of its options: --D-R.train.attack.norm, ",
        ):
            self.assertIn(words, said)
        self.assertNotIn("--mine.recipe", said)  # A function has no fields.

    def test_help_of_a_group_that_is_half_switched_on(self):
        said, code = told("--measure.useful 1 --help")
        self.assertEqual(code, 0)
        self.assertIn("--measure.images INT How many. (required)", said)

    def test_starts_no_jax(self):
        code = "import sys, nrf.config.options; sys.exit('jax' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code]).returncode, 0)


class CommentsTest(parameterized.TestCase):
    def test_comments_behind_above_and_below(self):
        self.assertEqual(
            comments.of_fields(Training),
            {
                "epochs": "Times that every example is seen.",
                "rates": "Of the schedule.",
                "attack": "Adversarial training when given.",
                "objective": "What it descends.",
            },
        )
        self.assertEqual(comments.of_fields(Attack)["steps"], "Gradient steps.")
        self.assertEqual(comments.summary(Training), "How a network is trained.")
        self.assertEqual(comments.summary(Mine), "")

    def test_a_class_without_source(self):
        namespace = {"dataclass": dataclass}
        exec("@dataclass\nclass A:\n    x: int = 0  # Lost.", namespace)
        self.assertEqual(comments.of_fields(namespace["A"]), {})
