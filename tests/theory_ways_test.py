"""The theory has one answer: eager, under jit and vmap, and in both precisions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.stats
from absl.testing import parameterized

from nrf import theory

GROUPS = 120  # Of each kind, below.


@functools.cache
def vmapped(f):
    """f as one of two equal problems at once."""
    both = jax.jit(jax.vmap(f))

    def twice(*given):
        many = jax.tree.map(lambda a: jnp.stack([a, a]), given)
        return jax.tree.map(lambda a: a[0], both(*many))

    return twice


WAYS = {"eager": lambda f: f, "jit": jax.jit, "vmap": vmapped}


def problem(seed, kind, d=3):
    """Eigenvalues, basis, v [1, D] and ε; of the hard kinds v has no part along the
    smallest variance, and so little elsewhere that the worst perturbation needs one.

    By rounding only, if the basis is turned.
    """
    generator = np.random.default_rng(seed)
    variances = np.sort(np.exp(generator.normal(size=d)))
    w = generator.normal(size=d)
    if kind != "general":
        w[0] = 0
        gap = variances[1:] / variances[0] - 1
        w[1:] *= generator.uniform(0.01, 0.9) / np.linalg.norm(w[1:] / gap)
    turn = np.eye(d)
    if kind != "hard":
        turn = scipy.stats.ortho_group.rvs(d, random_state=seed)
    epsilon = 1.0 if kind != "general" else np.exp(generator.normal())
    scale = 10.0 ** generator.integers(-2, 3)
    return variances, turn, scale * (turn @ w)[None], scale * epsilon


def gain(variances, w, epsilon):
    """max over ‖δ‖ ≤ ε of ½ (v + δ)ᵀ Σ⁻¹ (v + δ), from the other side.

    The least over λ ≥ 1 / σ_min of the dual, ½ (λε² + Σ wᵢ² λ / (λσᵢ − 1)), which is
    convex in λ; with u = λσ_min − 1, by a search in log u.
    """
    least, gap = variances[0], variances / variances[0] - 1

    def dual(log):
        u = np.exp(log)[..., None]
        below = u * (1 + gap) + gap
        part = np.divide(w**2, below, out=np.zeros_like(below), where=np.abs(w) > 0)
        return (1 + u[..., 0]) / least * (epsilon**2 + np.sum(part, -1)) / 2

    grid = np.linspace(-80, 30, 400)
    best = grid[np.argmin(dual(grid))]
    found = scipy.optimize.minimize_scalar(
        dual, bounds=(best - 1, best + 1), method="bounded", options={"xatol": 1e-12}
    )
    return min(found.fun, dual(best))


def check(test, seed, kind, dtype, way, rtol):
    variances, turn, v, epsilon = problem(seed, kind)
    cov = (turn * variances) @ turn.T
    g = theory.Gaussian(jnp.zeros(3, dtype), jnp.asarray(cov, dtype))
    given = g, jnp.asarray(v, dtype), jnp.ones(1, dtype), jnp.asarray(epsilon, dtype)
    delta = np.float64(way(theory.worst_perturbation)(*given))[0]
    value = np.float64(way(theory.robust_nll)(*given))[0]
    compare(test, variances, turn, v[0], epsilon, delta, value, rtol)
    return delta, value


def compare(test, variances, turn, v, epsilon, delta, value, rtol):
    np.testing.assert_allclose(np.linalg.norm(delta), epsilon, rtol=rtol)
    best = gain(variances, turn.T @ v, epsilon)
    reached = np.sum((turn.T @ (v + delta)) ** 2 / variances) / 2
    np.testing.assert_allclose(reached, best, rtol=rtol)
    constant = np.sum(np.log(2 * np.pi * variances)) / 2
    np.testing.assert_allclose(value - constant, best, rtol=rtol, atol=rtol)


class WorstTest(parameterized.TestCase):
    @parameterized.product(way=list(WAYS), double=(True, False))
    def test_the_hard_case_in_every_way(self, way, double):
        dtype = jnp.float64 if double else jnp.float32
        with jax.enable_x64(double):
            for kind in ("general", "hard", "turned"):
                for seed in range(3):
                    found = check(
                        self, seed, kind, dtype, WAYS[way], 1e-9 if double else 1e-4
                    )
                    again = check(
                        self, seed, kind, dtype, WAYS["jit"], 1e-9 if double else 1e-4
                    )
                    for a, b in zip(found, again, strict=True):
                        size = np.abs(b).max()
                        np.testing.assert_allclose(
                            a, b, atol=size * (1e-6 if double else 2e-3)
                        )
            g = theory.Gaussian(
                jnp.zeros(3, dtype), jnp.diag(jnp.asarray([0.5, 1, 2], dtype))
            )
            x, y = jnp.asarray([[0, 0, 0.1]], dtype), jnp.ones(1, dtype)
            one = jnp.asarray(1, dtype)
            delta = WAYS[way](theory.worst_perturbation)(g, x, y, one)[0]
            np.testing.assert_allclose(delta, [0.999444, 0, 1 / 30], atol=1e-6)
            value = WAYS[way](theory.robust_nll)(g, x, y, one)[0]
            np.testing.assert_allclose(value, 3.760149, rtol=1e-6)

    @parameterized.product(kind=("general", "hard", "turned"), double=(True, False))
    def test_many_random_groups(self, kind, double):
        dtype, rtol = (jnp.float64, 1e-8) if double else (jnp.float32, 2e-4)
        problems = [problem(seed, kind) for seed in range(GROUPS)]
        covs = np.stack([(t * s) @ t.T for s, t, _, _ in problems])
        vs, epsilons = (np.stack([p[i] for p in problems]) for i in (2, 3))
        with jax.enable_x64(double):

            def both(cov, v, epsilon):
                g, y = theory.Gaussian(jnp.zeros(3, dtype), cov), jnp.ones(1, dtype)
                return (
                    theory.worst_perturbation(g, v, y, epsilon)[0],
                    theory.robust_nll(g, v, y, epsilon)[0],
                )

            given = (jnp.asarray(a, dtype) for a in (covs, vs, epsilons))
            deltas, values = map(np.float64, jax.jit(jax.vmap(both))(*given))
        for (s, turn, v, epsilon), delta, value in zip(
            problems, deltas, values, strict=True
        ):
            compare(self, s, turn, v[0], epsilon, delta, value, rtol)

    def test_the_sign_is_not_that_of_a_rounding_error(self):
        # v is an eigenvector, and so is −v: what parts they have along the one of the
        # smallest variance is of either sign.
        parts, ways = [], []
        for seed in range(8):
            turn = scipy.stats.ortho_group.rvs(3, random_state=seed)
            cov = jnp.float32((turn * [0.5, 1.0, 2.0]) @ turn.T)
            _, basis = jnp.linalg.eigh(cov)
            v = 0.3 * jnp.stack([basis[:, 2], -basis[:, 2]])
            g = theory.Gaussian(jnp.zeros(3), cov)
            for way in WAYS.values():
                delta = way(theory.worst_perturbation)(
                    g, v, jnp.ones(2), jnp.float32(1)
                )
                ways.append(delta @ basis[:, 0])
            parts.append(v @ basis[:, 0])
        self.assertLess(np.min(parts), 0)
        self.assertGreater(np.min(ways), 0.9)

    def test_scales_with_the_problem(self):
        # Squares of these over- and underflow in single precision.
        g = theory.Gaussian(jnp.zeros(2), jnp.diag(jnp.array([1.0, 4.0])))
        x, y = jnp.array([[0.3, 3.0]]), jnp.ones(1)
        expected = theory.worst_perturbation(g, x, y, 2.0)
        for size in (1e-25, 1e25):
            found = theory.worst_perturbation(g, size * x, y, 2.0 * size)
            np.testing.assert_allclose(found / size, expected, rtol=1e-5)


def everything(g, x, y, epsilon):
    """All that has a closed form, of one problem."""
    w = theory.weights(g)
    return {
        "nll": theory.nll(g, x, y),
        "robust_nll": theory.robust_nll(g, x, y, epsilon),
        "worst": theory.worst_perturbation(g, x, y, epsilon),
        "robust": theory.robust_mle(g, epsilon),
        "multiplier": 1 / theory.multiplier(g.cov, epsilon),
        "accuracy": theory.accuracy(g, w, epsilon),
        "accuracy_linf": theory.accuracy(g, w, epsilon, "linf"),
        "usefulness": theory.usefulness(g, w, epsilon),
        "alignment": theory.alignment(g),
        "worst_alignment": theory.worst_alignment(g.cov),
        "vulnerability": theory.vulnerability(g.cov, 10.0),
        "penalised": theory.penalised_perturbation(g, x, y, 10.0),
        "mle": theory.mle(x, y),
        "slope": jax.grad(lambda g: theory.robust_nll(g, x, y, epsilon).sum())(g),
    }


class EverythingTest(parameterized.TestCase):
    @parameterized.product(way=("jit", "vmap"), double=(True, False))
    def test_one_answer(self, way, double):
        dtype, rtol = (jnp.float64, 1e-9) if double else (jnp.float32, 2e-3)
        with jax.enable_x64(double):
            turn = scipy.stats.ortho_group.rvs(3, random_state=1)
            cov = (turn * [0.3, 1.0, 5.0]) @ turn.T
            mean = jnp.asarray([1, -0.5, 0.2], dtype)
            g = theory.Gaussian(mean, jnp.asarray(cov, dtype))
            x, y = theory.sample(jax.random.key(0), g, 8)
            f = WAYS[way](everything)
            for epsilon in (0.0, 0.7):
                given = g, x, y, jnp.asarray(epsilon, dtype)
                one, other = everything(*given), f(*given)
                for name in one:
                    jax.tree.map(
                        lambda a, b, name=name: np.testing.assert_allclose(
                            a, b, rtol=rtol, atol=rtol, err_msg=name
                        ),
                        one[name],
                        other[name],
                    )


def nearly_flat(dtype):
    return jnp.diag(jnp.asarray([1.0, 1e-12], dtype))


class LimitsTest(parameterized.TestCase):
    def test_covariances_singular_to_rounding_are_refused(self):
        g = theory.Gaussian(jnp.ones(2), nearly_flat(jnp.float32))
        x, y = jnp.ones((3, 2)), jnp.ones(3)
        for ask in (
            lambda: theory.robust_mle(g, 1.0),
            lambda: theory.multiplier(g.cov, 1.0),
            lambda: theory.nll(g, x, y),
            lambda: theory.worst_perturbation(g, x, y, 1.0),
            lambda: theory.condition_number(g.cov),
            lambda: theory.weights(g),
        ):
            with self.assertRaisesRegex(ValueError, "singular in float32: .*float64"):
                ask()
        with jax.enable_x64(True):
            g = theory.Gaussian(jnp.ones(2), nearly_flat(jnp.float64))
            robust = theory.robust_mle(g, 1.0)
            self.assertTrue(np.isfinite(robust.cov).all())

    @parameterized.parameters("jit", "vmap")
    def test_where_they_cannot_be_refused_they_are_near_their_limit(self, way):
        with jax.enable_x64(True):
            exact = theory.Gaussian(jnp.ones(2), nearly_flat(jnp.float64))
            expected = np.asarray(theory.robust_mle(exact, 1.0).cov)
            x, y = jnp.array([[0.5, 0.1]]), jnp.ones(1)
            worst = np.asarray(theory.worst_perturbation(exact, x, y, 1.0))
        turn = scipy.stats.ortho_group.rvs(2, random_state=0)
        for basis in (np.eye(2), turn):
            cov = jnp.float32((basis * [1, 1e-12]) @ basis.T)
            g = theory.Gaussian(jnp.float32(basis @ np.ones(2)), cov)
            found = WAYS[way](theory.robust_mle)(g, jnp.float32(1)).cov
            np.testing.assert_allclose(
                basis.T @ np.asarray(found) @ basis, expected, atol=1e-3
            )
            moved = jnp.float32(np.float64(x) @ basis.T), jnp.float32(y)
            delta = WAYS[way](theory.worst_perturbation)(g, *moved, jnp.float32(1))
            np.testing.assert_allclose(delta @ basis, worst, atol=1e-3)

    @parameterized.parameters(*WAYS)
    def test_equal_means_cannot_be_told_apart(self, way):
        g = theory.Gaussian(jnp.zeros(2), jnp.diag(jnp.array([1.0, 2.0])))
        for epsilon in (0.0, 0.5):
            found = WAYS[way](
                lambda g, epsilon: (
                    theory.accuracy(g, theory.weights(g), epsilon),
                    theory.usefulness(g, theory.weights(g), epsilon),
                )
            )(g, jnp.float32(epsilon))
            np.testing.assert_allclose(found, (0.5, 0.0))
        with self.assertRaisesRegex(ValueError, "equal means have no direction"):
            theory.alignment(g)

    @parameterized.parameters(1e-30, 1e30)
    def test_weights_have_no_size(self, size):
        g = theory.Gaussian(jnp.array([1.0, 0.5]), jnp.diag(jnp.array([1.0, 2.0])))
        w = jnp.array([1.0, -0.3])
        for measure in (theory.accuracy, theory.usefulness):
            np.testing.assert_allclose(
                measure(g, size * w, 0.2), measure(g, w, 0.2), rtol=1e-6
            )
        tiny = theory.Gaussian(size * g.mean, g.cov)
        np.testing.assert_allclose(
            theory.alignment(tiny), theory.alignment(g), rtol=1e-6
        )

    def test_nothing_that_is_not_finite_is_taken(self):
        g = theory.Gaussian(jnp.ones(2), jnp.eye(2))
        x, y = jnp.ones((3, 2)), jnp.ones(3)
        bad = np.array([1.0, np.nan], np.float32)
        for ask, message in (
            (lambda: theory.weights(g._replace(mean=bad)), "mean must be finite"),
            (lambda: theory.nll(g, x * bad[None], y), "x must be finite"),
            (lambda: theory.accuracy(g, bad), "weights must be finite"),
            (lambda: theory.multiplier(np.diag(bad), 1.0), "cov must be finite"),
            (lambda: theory.nll(g, x.astype(jnp.float16), y), "float32 or more"),
            (lambda: theory.worst_perturbation(g, x.astype(int), y, 0.5), "got int32"),
        ):
            with jax.debug_nans(False), self.assertRaisesRegex(ValueError, message):
                ask()
