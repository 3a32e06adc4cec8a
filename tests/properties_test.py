"""Whatever public functions are given: a right answer, or a ValueError in words."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from theory_ways_test import gain

from nrf import attacks, data, devices, evaluate, losses, synthesize, theory

SHAPE = (3, 2, 2, 1)
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
NAMES = ("a", "b", "c")
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
NORM = {"linf": np.inf, "l2": 2, "l1": 1}


def some(count):
    """So many examples, the same ones in every run."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def mostly(good, *bad):
    """Three in four are good, so that not all that is made of several is bad."""
    return st.sampled_from([good] * (3 * len(bad)) + [*bad])


def network(params, x):
    return x.reshape(len(x), -1) @ params


def keys():
    return attacks.example_keys(jax.random.key(0), jnp.arange(3))


def answer(test, ask):
    """What `ask` returns, or None if it refuses in words; all else is a failure."""
    try:
        return ask()
    except ValueError as error:
        # A sentence of ours, and not a line of a traceback.
        test.assertRegex(str(error), r"^[^\n]*[.?]$")
        test.assertNotRegex(str(error), "Tracer|Incompatible shapes|ConcretizationType")
        return None


# Valid pixels: their ends, the smallest floats, and all between.
PIXELS = st.sampled_from([0.0, 1.0, 1e-45, 1e-38, 1e-8, 0.5]) | st.floats(
    0, 1, width=32
)
IMAGES = hn.arrays(np.float32, SHAPE, elements=PIXELS)
LABELS = hn.arrays(np.int32, (3,), elements=st.integers(0, 2))
RADII = st.sampled_from([1e-30, 1e-6, 1.0]) | st.floats(2**-10, 1, width=32)

MAKERS = {
    "pgd": lambda threat, at: attacks.pgd(
        losses.cross_entropy(network), threat, steps=3, step_size=at / 2, keep_best=True
    ),
    "random": lambda threat, at: attacks.pgd(
        losses.cross_entropy(network),
        threat,
        steps=2,
        step_size=at,
        random_start=True,
        restarts=2,
        momentum=1.0,
        decay=True,
    ),
    "apgd": lambda threat, at: attacks.apgd(losses.dlr(network), threat, steps=4),
    "fab": lambda threat, at: attacks.fab(losses.margin(network), threat, steps=3),
    "square": lambda threat, at: attacks.square(
        losses.margin(network), threat, queries=6
    ),
}
CASES = [
    ("pgd", "linf"), ("pgd", "l2"), ("pgd", "l1"), ("random", "l2"), ("random", "l1"),
    ("apgd", "l2"), ("apgd", "l1"), ("fab", "linf"), ("fab", "l1"), ("square", "linf"),
    ("square", "l2"),
]  # fmt: skip


@functools.cache
def compiled(name, norm):
    @jax.jit
    def attack(epsilon, keys, x, y):
        threat = getattr(attacks, norm)(epsilon)
        return MAKERS[name](threat, epsilon)(keys, WEIGHTS, x, y)

    return attack


class AttackTest(parameterized.TestCase):
    @parameterized.parameters(*CASES)
    @some(15)
    @given(x=IMAGES, y=LABELS, epsilon=RADII)
    def test_stays_in_the_ball_and_the_box_and_does_not_beat_the_exact_bound(
        self, name, norm, x, y, epsilon
    ):
        x_adv = np.asarray(compiled(name, norm)(np.float32(epsilon), keys(), x, y))
        self.assertEqual((x_adv.shape, x_adv.dtype), (SHAPE, np.float32))
        self.assertTrue(((x_adv >= 0) & (x_adv <= 1)).all())
        d = (np.float64(x_adv) - x).reshape(3, -1)
        size = np.linalg.norm(d, NORM[norm], axis=1)
        # One rounding of each pixel more.
        self.assertLessEqual(size.max(), epsilon * (1 + 1e-5) + 4 * 2.0**-24)
        z, z_adv = (np.float64(a).reshape(3, -1) @ WEIGHTS for a in (x, x_adv))
        for i in range(3):
            for k in {0, 1, 2} - {int(y[i])}:
                w = np.float64(WEIGHTS[:, k] - WEIGHTS[:, y[i]])
                most = z[i, k] - z[i, y[i]] + epsilon * np.linalg.norm(w, DUAL[norm])
                self.assertLessEqual(z_adv[i, k] - z_adv[i, y[i]], most + 1e-4)

    @some(60)
    @given(
        name=st.sampled_from(["pgd", "apgd", "fab", "square"]),
        norm=st.sampled_from(["linf", "l2", "l1"]),
        epsilon=mostly(0.5, 0, -1, 8, np.nan, np.inf, 1e-30),
        options=st.fixed_dictionaries(
            {},
            optional={
                "steps": mostly(1, np.int64(1), 0, -1, 2.5, True, "3", None),
                "step_size": mostly(0.1, 0, -1, np.nan, np.inf),
                "restarts": mostly(1, 2, 0, 1.5),
                "random_start": st.booleans(),
                "momentum": mostly(0.0, 1.0, 5.0, np.nan),
            },
        ),
        x=mostly(
            np.full(SHAPE, 0.5, np.float32),
            np.full(SHAPE, 0.5, np.float16),
            np.full(SHAPE, 0.5, np.float64),
            jnp.full(SHAPE, 0.5, jnp.bfloat16),
            np.full(SHAPE, 128, np.uint8),
            np.full(SHAPE, np.nan, np.float32),
            np.full(SHAPE, np.inf, np.float32),
            np.full(SHAPE, -0.1, np.float32),
            np.full(SHAPE, 255, np.float32),
            np.full(SHAPE, 1, bool),
            np.full(SHAPE, 1j),
            np.full(SHAPE[1:], 0.5, np.float32),
            np.full(SHAPE[:2], 0.5, np.float32),
            np.full((), 0.5, np.float32),
            [[0.5]],
        ),
        y=mostly(
            np.array([0, 1, 2]),
            np.array([0, 1, 2], np.uint8),
            np.array([0, 1, 3]),
            np.array([0, -1, 2]),
            np.array([0, 1]),
            np.array([0.0, 1.0, 2.0], np.float32),
            np.array([np.nan, 1.0, 2.0], np.float32),
            np.eye(3, dtype=np.int32),
            np.array(1),
            np.zeros((3, 1), int),
        ),
        key=mostly("one", "each", "few", "raw", "rbg"),
    )
    def test_bad_arguments(self, name, norm, epsilon, options, x, y, key):
        taken = {
            "pgd": {"steps": 1, "step_size": 0.1},
            "apgd": {"steps": 1},
            "fab": {"steps": 1},
            "square": {"queries": 1},
        }[name]
        if name == "apgd":
            taken |= {
                k: v for k, v in options.items() if k in ("restarts", "random_start")
            }
        if name == "pgd":
            taken |= options
        elif "steps" in options:
            taken["queries" if name == "square" else "steps"] = options["steps"]
        given_keys = {
            "one": lambda: jax.random.key(0),
            "each": keys,
            "few": lambda: keys()[:2],
            "raw": lambda: jax.random.PRNGKey(0),
            "rbg": lambda: jax.random.key(0, impl="rbg"),
        }[key]()

        def ask():
            loss = losses.margin(network)
            attack = getattr(attacks, name)(
                loss, getattr(attacks, norm)(epsilon), **taken
            )
            return attack(given_keys, WEIGHTS, x, y)

        x_adv = answer(self, ask)
        if x_adv is not None:
            self.assertTrue(key in ("one", "each") or name == "fab")
            d = np.float64(x_adv) - np.float64(x)
            self.assertLessEqual(
                np.linalg.norm(d.reshape(3, -1), NORM[norm], axis=1).max(),
                epsilon * (1 + 1e-5) + 2e-7,
            )


def dataset(images, labels):
    return data.Dataset(images, labels, NAMES)


DATASETS = st.builds(
    dataset,
    st.sampled_from(
        [
            np.random.default_rng(1).uniform(0, 1, (5, 2, 2, 1)).astype(np.float32),
            np.random.default_rng(1).uniform(0, 1, (5, 2, 2, 1)).astype(np.float16),
            np.full((5, 2, 2, 1), np.nan, np.float32),
            np.full((5, 2, 2, 1), 7, np.uint8),
            np.zeros((1, 2, 2, 1), np.float32),
            np.zeros((0, 2, 2, 1), np.float32),
            np.zeros((5, 2, 2), np.float32),
        ]
    ),
    st.sampled_from(
        [
            np.array([0, 1, 2, 0, 1], np.int32),
            np.array([0, 1, 2, 0, 1], np.int32),
            np.array([0, 1, 2, 0, 3], np.int32),
            np.array([0, 1], np.int32),
            np.array([0.5] * 5),
            np.zeros(1, np.int32),
        ]
    ),
)
BATCHES = st.sampled_from([None, 3, 3, 0, -1, 2.5, True])
ONE = functools.cache(lambda: devices.make_mesh(1))
PUSH = attacks.pgd(
    losses.negate(losses.cross_entropy(network)),
    attacks.l2(0.3),
    steps=1,
    step_size=0.3,
)
PERTURB = synthesize.make_mislabel(network, PUSH)
MATCH = synthesize.make_robustify(
    network, lambda loss: attacks.pgd(loss, attacks.free(), steps=1, step_size=0.1)
)


class SynthesizeTest(parameterized.TestCase):
    @some(60)
    @given(
        D=DATASETS,
        targets=st.sampled_from(
            [
                [1, 2, 0, 1, 2],
                [1, 2, 0, 1, 2],
                [1, 2],
                [1, 2, 0, 1, 3],
                [-1] * 5,
                [0.5] * 5,
            ]
        ),
        batch_size=BATCHES,
    )
    def test_mislabelled_sets(self, D, targets, batch_size):
        made = answer(
            self,
            lambda: synthesize.mislabel(
                jax.random.key(0),
                PERTURB,
                WEIGHTS,
                D,
                np.array(targets),
                batch_size=batch_size,
                mesh=ONE(),
            ),
        )
        if made is not None:
            self.assertIn(type(batch_size), (type(None), int))
            self.assertEqual(made.images.dtype, np.float32)
            d = made.images.astype(np.float64) - D.images
            norms = np.linalg.norm(d.reshape(len(d), -1), axis=1)
            self.assertLessEqual(norms.max(), 0.3 * (1 + 1e-5))
            np.testing.assert_array_equal(made.labels, targets)
            says = (made.images.reshape(5, -1) @ WEIGHTS).argmax(-1)
            np.testing.assert_array_equal(made.reached, says == targets)

    @some(60)
    @given(
        D=DATASETS,
        start=st.sampled_from(["image", "noise", "foo", None]),
        copies=st.sampled_from([1, 1, 2, 0, 1.5, True]),
        batch_size=BATCHES,
    )
    def test_matched_sets(self, D, start, copies, batch_size):
        made = answer(
            self,
            lambda: synthesize.robustify(
                jax.random.key(0),
                MATCH,
                WEIGHTS,
                D,
                start=start,
                copies=copies,
                batch_size=batch_size,
                mesh=ONE(),
            ),
        )
        if made is not None:
            self.assertIn(type(batch_size), (type(None), int))
            self.assertEqual(made.images.shape, (copies * len(D.images), 2, 2, 1))
            self.assertTrue(((made.images >= 0) & (made.images <= 1)).all())
            features, wanted = (
                np.float64(a).reshape(len(a), -1) @ WEIGHTS
                for a in (made.images, D.images[made.indices])
            )
            apart = np.linalg.norm(features - wanted, axis=1)
            np.testing.assert_allclose(made.final_distance, apart, atol=1e-5)


class EvaluateTest(parameterized.TestCase):
    CORRECT = evaluate.make_correct(
        network,
        lambda epsilon: attacks.pgd(
            losses.cross_entropy(network), attacks.l2(epsilon), steps=1, step_size=1.0
        ),
    )

    @some(60)
    @given(
        D=DATASETS,
        epsilon=st.sampled_from([0.1, 0.5, 0.0, -0.1, np.nan, np.inf]),
        batch_size=st.sampled_from([3, 3, 0, -1]),
    )
    def test_scores(self, D, epsilon, batch_size):
        score = answer(
            self,
            lambda: evaluate.score(
                jax.random.key(0),
                self.CORRECT,
                WEIGHTS,
                D,
                epsilon=epsilon,
                batch_size=batch_size,
                mesh=ONE(),
            ),
        )
        if score is not None:
            z = np.float64(D.images).reshape(len(D.images), -1) @ WEIGHTS
            right = z.argmax(-1) == D.labels
            self.assertEqual(score.total, len(D.images))
            self.assertLessEqual(score.correct, right.sum())
            # What no perturbation of this length can change, it has not changed.
            own = np.arange(3)[None] == D.labels[:, None]
            w = np.linalg.norm(WEIGHTS[:, None] - WEIGHTS[:, :, None], axis=0)[D.labels]
            distance = (z[own][:, None] - z) / np.where(own, 1, w)
            certified = np.where(own, np.inf, distance).min(1) > epsilon * (1 + 1e-5)
            self.assertGreaterEqual(score.correct, certified.sum())


class TheoryTest(parameterized.TestCase):
    @some(80)
    @given(
        scale=st.sampled_from([1e-6, 1.0, 1e6]),
        small=st.sampled_from([1.0, 0.3, 1e-3, 1e-5, 1e-7, 1e-12, 0.0, -1.0, np.nan]),
        angle=st.sampled_from([0.0, 0.5, np.pi / 2]),
        tilt=st.sampled_from([0.0, 0.0, 0.1]),
        mean=st.sampled_from([(0.0, 0.0), (1.0, 2.0), (np.inf, 0.0), (1e4, -1.0)]),
        v=st.sampled_from(
            [(0.0, 0.0), (0.3, 0.0), (0.0, 0.2), (1e-9, 0.4), (3.0, 4.0)]
        ),
        y=mostly(1.0, -1.0, 2.0),
        epsilon=st.sampled_from([0.0, 1e-6, 0.3, 1.0, 30.0, -1.0, np.nan, np.inf]),
    )
    def test_worst_perturbations(self, scale, small, angle, tilt, mean, v, y, epsilon):
        turn = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        variances = np.array([small, 1.0]) * scale
        cov = (turn * variances) @ turn.T
        cov[0, 1] += tilt * scale
        g = theory.Gaussian(np.float32(mean), np.float32(cov))
        away = np.float32(turn @ v)
        x, epsilon = np.float32(mean)[None] * np.float32(y) + away, np.float32(epsilon)
        given = g, x, np.array([y], np.float32), epsilon
        delta = answer(self, lambda: theory.worst_perturbation(*given))
        value = answer(self, lambda: theory.robust_nll(*given))
        robust = answer(self, lambda: theory.robust_mle(g, epsilon))
        accuracy = answer(self, lambda: theory.accuracy(g, theory.weights(g), epsilon))
        self.assertEqual(delta is None, value is None)
        if robust is not None:
            self.assertTrue(np.isfinite(robust.cov).all())
            self.assertBetween(float(accuracy), 0, 1)
            if not np.any(mean):
                self.assertEqual(float(accuracy), 0.5)
        if delta is not None:
            np.testing.assert_allclose(np.linalg.norm(delta), epsilon, rtol=1e-5)
            # Of the numbers that were given, which rounding had changed.
            s, basis = np.linalg.eigh(np.float64(g.cov))
            moved = np.float64(x[0]) - y * np.float64(g.mean)
            best = gain(s, basis.T @ moved, float(epsilon))
            reached = np.sum((basis.T @ (moved + np.float64(delta[0]))) ** 2 / s) / 2
            np.testing.assert_allclose(reached, best, rtol=1e-2, atol=1e-12)
            self.assertLessEqual(reached, best * (1 + 1e-5) + 1e-12)
