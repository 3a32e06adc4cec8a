"""Certificates: of a network whose accuracy is known, damaged, and of other things."""

import contextlib
import copy
import functools
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from absl.testing import parameterized
from helpers import folder_of
from robust_accuracy_test import EPSILON, bright, ladder

from nrf import __main__ as command
from nrf import attacks, data, evaluate, models, runs
from nrf.evaluate import Score, statistics
from nrf.experiments import certificate, subject, verify
from nrf.runs.provenance import describe
from nrf.types import Dataset, Network

ONE = np.float32(1)
ROBUST_ACCURACY = evaluate.robust_accuracy
# The same function as `bright`, for a process that has no tests.
MODULE = """
import jax.numpy as jnp

def apply(params, x):
    brightness = (x.sum((1, 2, 3)) - 2) * params["sign"]
    return jnp.stack([-brightness, brightness], 1)
"""


def steps():
    x, y = ladder()
    return Dataset(x, y.astype(np.int32), ("dark", "light"))


@functools.cache
def certified():
    return verify.certify(bright, steps(), attacks.l2(EPSILON), params=ONE)


def alone(params, x):
    return bright(1, x)


def by_nothing(*arguments, **options):
    """As AutoAttack, but nothing is done to the images."""
    options |= {"attack": lambda keys, params, x, y: x, "thorough": False}
    made = ROBUST_ACCURACY(*arguments, **options)
    return made._replace(components={"clean": made.score})


def attacked(*arguments, **options):
    raise AssertionError("something was attacked")


class CertifyTest(parameterized.TestCase):
    def test_a_known_boundary(self):
        made = certified()
        self.assertEqual(
            made["counts"],
            {
                "total": 16,
                "withstood": 12,
                "components": {
                    "clean": 16,
                    "apgd-ce": 12,
                    "apgd-t": 12,
                    "fab-t": 12,
                    "square": 12,
                },
            },
        )
        # The 4 images that are nearest to grey, and come first, do not withstand.
        self.assertEqual(made["right"], statistics.pack(np.arange(16) >= 4))
        self.assertEqual(
            made["intervals"]["withstood"], [*map(float, Score(12, 16).interval)]
        )
        self.assertEqual(made["evidence"]["verdict"], evaluate.BELIEVABLE)
        self.assertIn("16 images 12 are", made["claims"])
        self.assertIn("upper bound", made["leaves_open"][0])
        self.assertLen(made["leaves_open"], 1)
        self.assertEqual(made["attack"]["queries"], 5000)
        self.assertEqual((made["attack"]["norm"], made["attack"]["seed"]), ("l2", 0))
        self.assertEqual(made["versions"]["jax"], jax.__version__)
        self.assertEqual(made["images"]["shape"], [2, 2, 1])

    def test_what_is_wrong_and_what_was_not_looked_at_is_said(self):
        with mock.patch.object(evaluate, "robust_accuracy", by_nothing):
            made = verify.certify(alone, steps(), attacks.l2(EPSILON), params={})
        self.assertIn("(not to be believed)", made["claims"])
        self.assertIn("changes nothing", made["findings"])
        words = " ".join(made["leaves_open"])
        self.assertIn("Not checked", words)
        self.assertIn("was given no parameters", words)

    def test_settings_that_draw_other_numbers_are_refused(self):
        with jax.threefry_partitionable(False):
            with self.assertRaisesRegex(ValueError, "jax_threefry_partitionable is F"):
                verify.certify(bright, steps(), attacks.l2(EPSILON), params=ONE)

    @parameterized.parameters(
        ({"seed": -1}, r"from 0 to 2\*\*32 - 1, got \(-1,\)"),
        ({"seed": 2**32}, r"from 0 to 2\*\*32 - 1"),
        ({"images": 17}, r"images must be in 1 \.\. 16, all there are, got 17"),
        ({"images": 0}, r"images must be in 1 \.\. 16"),
    )
    def test_refuses(self, options, message):
        with mock.patch.object(evaluate, "robust_accuracy", attacked):
            with self.assertRaisesRegex(ValueError, message):
                verify.certify(bright, steps(), attacks.l2(0.1), params=ONE, **options)


class CheckTest(parameterized.TestCase):
    def test_holds_for_the_same(self):
        found = verify.check(certified(), bright, steps(), params=ONE)
        self.assertTrue(found.holds, found)
        self.assertIn("✓ Withstood: 12 of 16.", str(found))
        self.assertEndsWith(str(found), "The certificate holds.")

    @parameterized.named_parameters(
        ("weights", {"params": np.float32(2)}, "The weights: others"),
        ("code", {"network": alone}, "The code: others"),
        ("a_pixel", {"images": 0.999 * ladder()[0]}, "The images: others"),
        ("a_label", {"labels": 1 - ladder()[1]}, "The labels: others"),
        ("fewer", {"count": 8}, "There are 8 images instead of 16"),
    )
    def test_names_what_is_other_and_attacks_nothing(self, changes, message):
        images, labels, names = steps()
        images = np.float32(changes.get("images", images))[: changes.get("count")]
        labels = changes.get("labels", labels)[: changes.get("count")]
        with mock.patch.object(evaluate, "robust_accuracy", attacked):
            found = verify.check(
                certified(),
                changes.get("network", bright),
                Dataset(images, labels, names),
                params=changes.get("params", ONE),
            )
        self.assertFalse(found.holds)
        self.assertIn(message, " ".join(found.differs))
        if "count" not in changes:
            self.assertLen(found.differs, 1)

    def test_is_of_the_images_that_were_chosen(self):
        with mock.patch.object(evaluate, "robust_accuracy", by_nothing):
            make = functools.partial(verify.certify, bright, threat=attacks.l2(0.1))
            made = make(test=steps(), params=ONE, images=4)
            self.assertEqual(made["images"]["count"], 4)
            self.assertEqual(made["source"]["available_images"], 16)
            rows = [0, 4, 8, 12]
            x, y, names = steps()
            same = make(test=Dataset(x[rows], y[rows], names), params=ONE)
            self.assertEqual(same["images"], made["images"])
            for whole in (steps(), Dataset(x[rows], y[rows], names)):
                self.assertTrue(verify.check(made, bright, whole, params=ONE).holds)

    def test_tells_every_number_that_is_other(self):
        other = copy.deepcopy(certified())
        other["counts"]["withstood"] = other["counts"]["components"]["square"] = 13
        other["counts"]["components"]["clean"] = 15
        other["intervals"]["withstood"] = [0.6, 0.9]
        other["right"] = statistics.pack(np.arange(16) >= 3)
        other["evidence"]["verdict"] = "stops early"
        other["versions"]["jax"] = "0.0.1"
        nothing = certificate.Comparison([], [], [])
        words = str(certificate.compare_counts(nothing, other, certified()))
        for sentence in (
            "✓ Left after apgd-ce: 12 of 16.",
            "✗ Right without attack: 16 of 16 instead of 15.",
            "✗ Left after square: 12 of 16 instead of 13.",
            "✗ Withstood: 12 of 16 instead of 13.",
            "✗ Images that withstand in one of both only: 3.",
            "✗ The evidence: believable instead of stops early.",
            "✗ The interval of withstood: [0.505  0.8982] instead of [0.6 0.9].",
            f"Here: jax {jax.__version__} instead of 0.0.1. Rounding",
            "The certificate does not hold.",
        ):
            self.assertIn(sentence, words)


class FileTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "new" / "robust.json"

    def test_comes_back_as_it_was(self):
        certificate.write(self.path, certified())
        self.assertEqual(certificate.read(self.path), certified())
        self.assertEqual([*self.path.parent.iterdir()], [self.path])
        with self.assertRaisesRegex(ValueError, "robust.json is there already"):
            certificate.write(self.path, certified())

    @parameterized.named_parameters(
        ("a_digit", ('"withstood": 12', '"withstood": 13'), "is damaged: what it says"),
        ("cut", ('"claims"', ""), "is damaged: it is not JSON"),
        ("layout", ("certificate 1", "certificate 9"), "layout 'nrf certificate 9'"),
        ("another_file", ('"layout"', '"format"'), "is not a certificate"),
        ("no_digest", ('"sha256": "', '"sha255": "'), "is damaged: what it says"),
    )
    def test_damage_is_refused(self, change, message):
        certificate.write(self.path, certified())
        text = self.path.read_text().replace(*change)
        self.path.write_text(text)
        with self.assertRaisesRegex(
            ValueError, f"robust.json {message}|has the {message}"
        ):
            certificate.read(self.path)

    @parameterized.parameters("[]", "3", "null")
    def test_other_json_is_refused(self, text):
        self.path.parent.mkdir()
        self.path.write_text(text)
        with self.assertRaisesRegex(ValueError, "robust.json is not a certificate"):
            certificate.read(self.path)

    def test_missing(self):
        with self.assertRaisesRegex(
            ValueError, "there is no certificate .*robust.json"
        ):
            certificate.read(self.path)


def nrf(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command.main(["verify", *map(str, arguments)])
        except SystemExit as end:  # tyro's.
            code = end.code
    return code, out.getvalue(), err.getvalue()


class NamesTest(parameterized.TestCase):
    """In a folder with a module, arrays and a run; the command is run there."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        before = os.getcwd()
        os.chdir(folder_of(cls))
        stack.callback(os.chdir, before)
        stack.callback(sys.modules.pop, "brightness", None)
        Path("brightness.py").write_text(MODULE)
        np.savez("params.npz", sign=ONE)
        np.savez("nested.npz", **{"a/b": ONE, "a/c": ONE})
        x, y, _ = steps()
        np.savez("test.npz", images=x, labels=y)
        np.savez("turned.npz", images=x, labels=1 - y)
        np.savez("unnamed.npz", x)
        Path("damaged.npz").write_bytes(Path("test.npz").read_bytes()[:-9])
        np.save("one.npy", x)
        cls.run_folder()

    @classmethod
    def run_folder(cls):
        """As a run leaves it: a network, and results that name the data."""
        cls.network = models.MLP((0.3,), (0.4,), widths=(3,))
        model = cls.network.build(10)
        cls.params = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
        trained = runs.Trained(jax.tree.map(np.asarray, cls.params), [])
        about = {"settings": {"network": describe(cls.network)}}
        runs.save("run/seed3/standard", trained, about)
        config = dict(data="digits", data_dir=None, test_examples=7, seeds=[3])
        results = dict(
            config=config,
            data="digits",
            classes=list("0123456789"),
            networks=[{"name": "standard"}],
        )
        Path("run/results.json").write_text(json.dumps(results))
        Path("arrays/seed3").mkdir(parents=True)
        Path("arrays/seed3/standard").symlink_to(Path("run/seed3/standard").absolute())
        Path("arrays/results.json").write_text(json.dumps(results | {"data": "arrays"}))

    def test_a_network_of_a_run(self):
        network, params, test = subject.load(subject.Names("run", network="standard"))
        self.assertIsInstance(network, Network)
        self.assertIsNone(params)
        expected = data.load("digits", test_examples=7)[1]
        np.testing.assert_array_equal(test.images, expected.images)
        logits = self.network.build(10).apply(self.params, expected.images).logits
        np.testing.assert_allclose(network(test.images), logits, rtol=1e-5)
        _, _, other = subject.load(subject.Names("run", "standard", data="test.npz"))
        np.testing.assert_array_equal(other.images, ladder()[0])

    def test_a_function_with_parameters_in_a_file(self):
        names = subject.Names("brightness:apply", params="nested.npz", data="test.npz")
        _, params, test = subject.load(names)
        self.assertEqual(jax.tree.map(float, params), {"a": {"b": 1.0, "c": 1.0}})
        np.testing.assert_array_equal(test.labels, ladder()[1])

    @parameterized.named_parameters(
        ("no_folder", dict(of="ran", network="x"), "there is no folder ran"),
        ("no_results", dict(of="run/seed3", network="x"), "holds no results of a run"),
        ("which", dict(of="run"), "which network of run.*: standard"),
        (
            "unknown",
            dict(of="run", network="robust"),
            "no run/seed3/robust; .*standard",
        ),
        (
            "no_seed",
            dict(of="run", network="standard", run_seed=1),
            "no run/seed1/standard",
        ),
        (
            "params",
            dict(of="run", network="standard", params="p.npz"),
            "leave out --pa",
        ),
        ("arrays", dict(of="arrays", network="standard"), "arrays, which .* --data"),
        ("module", dict(of="nowhere:apply", data="digits"), "nowhere cannot be import"),
        ("name", dict(of="brightness:x", data="digits"), "brightness has no x"),
        ("no_data", dict(of="brightness:apply"), "needs --data"),
        ("network", dict(of="brightness:apply", network="x"), "is a function; --net"),
        ("no_file", dict(of="brightness:apply", data="no.npz"), "no file no.npz"),
        ("damaged", dict(of="brightness:apply", data="damaged.npz"), "no whole .npz"),
        (
            "unnamed",
            dict(of="brightness:apply", data="unnamed.npz"),
            "holds arr_0; wri",
        ),
        (
            "one_array",
            dict(of="brightness:apply", params="one.npy", data="test.npz"),
            "one.npy is no whole .npz",
        ),
    )
    def test_refuses(self, names, message):
        with self.assertRaisesRegex(ValueError, message):
            subject.load(subject.Names(**names))

    def test_the_command(self):
        given = "brightness:apply", "--params", "params.npz", "--data", "test.npz"
        ball = "--norm", "l2", "--epsilon", EPSILON, "--out", "robust.json"
        code, out, err = nrf(*given, *ball)
        self.assertEqual(code, 0, err)
        self.assertIn("16 images 12 are classified rightly", out)
        self.assertIn("50.5 to 89.8 %", out)
        self.assertEqual(out.splitlines()[-1], "robust.json")
        # Elsewhere, from what the file says alone.
        code, out, err = nrf("--check", "robust.json")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("✓ Withstood: 12 of 16.", out)
        code, out, _ = nrf("--check", "robust.json", "--data", "turned.npz")
        self.assertEqual(code, 1)
        self.assertIn("✗ The labels: others", out)
        code, _, err = nrf(*given, *ball)
        self.assertEqual((code, err[:11]), (1, "robust.json"))

    @parameterized.named_parameters(
        ("nothing", (), "give a run's folder"),
        ("no_radius", ("run", "--norm", "l2"), "needs --out, --epsilon"),
        (
            "both",
            ("--check", "a.json", "--seed", 1, "--images", 2),
            "takes --images, -",
        ),
        ("norm", ("run", "--norm", "l3"), "l3"),
        (
            "seed",
            ("run", "--norm", "l2", "--epsilon", 1, "--out", "a", "--seed", -1),
            "seeds must be",
        ),
    )
    def test_options_that_do_not_fit(self, arguments, message):
        code, _, err = nrf(*arguments)
        self.assertEqual(code, 2, err)
        self.assertIn(message, err)

    def test_other_refusals_of_the_command(self):
        code, _, err = nrf("--check", "nowhere.json")
        self.assertEqual(
            (code, err.strip()), (1, "there is no certificate nowhere.json.")
        )
        ball = "--norm", "linf", "--epsilon", 8, "--out", "never.json"
        code, _, err = nrf("run", "--network", "standard", *ball)
        self.assertEqual((code, err[:12]), (1, "linf epsilon"))
        # Made in Python, it has no names.
        certificate.write("unnamed.json", certified())
        code, _, err = nrf("--check", "unnamed.json")
        self.assertEqual(code, 1)
        self.assertIn("does not say where its network lies", err)
        self.assertEqual(nrf("--help")[0], 0)
