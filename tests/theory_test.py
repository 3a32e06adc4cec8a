"""The Gaussian theory: against closed forms, SciPy, Monte Carlo and brute force."""

from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.stats
from absl.testing import parameterized

from nrf import theory

# The paper's figure 4.
PAPER = ((-10.0, 1.0), (25.0, 0.5))


def diagonal(mean, variances):
    return theory.Gaussian(jnp.array(mean), jnp.diag(jnp.array(variances)))


def turned(seed, variances):
    """A random orthogonal matrix, and the covariance with these variances along it."""
    turn = scipy.stats.ortho_group.rvs(len(variances), random_state=seed)
    return turn, jnp.asarray((turn * variances) @ turn.T)


def random_problem(seed, d):
    generator = np.random.default_rng(seed)
    variances = np.exp(generator.normal(size=d))
    cov = turned(seed, variances)[1]
    return theory.Gaussian(jnp.asarray(generator.normal(size=d)), cov), variances


# Each as one program, instead of one for each of its operations; that both are the same
# is tested in theory_ways_test.py.
COMPILED = {
    name: jax.jit(getattr(theory, name))
    for name in "nll worst_perturbation robust_nll robust_mle multiplier".split()
}


class TheoryTest(chex.TestCase):
    """In double precision."""

    def setUp(self):
        super().setUp()
        self.enter_context(jax.enable_x64(True))
        self.enter_context(mock.patch.multiple(theory, **COMPILED))

    def assert_slope(self, f, at, direction, step=1e-5, rtol=1e-5):
        """The derivative of f at `at` along `direction` is that of finite differences.

        Forwards and backwards.
        """
        f = jax.jit(f)
        ahead, behind = (
            f(*(a + s * step * d for a, d in zip(at, direction, strict=True)))
            for s in (1, -1)
        )
        value, slope = jax.jvp(f, at, direction)
        expected = (ahead - behind) / (2 * step)
        scale = rtol * float(jnp.abs(expected).max()) + 1e-9
        np.testing.assert_allclose(slope, expected, atol=scale)
        weights = jnp.cos(jnp.arange(value.size)).reshape(value.shape)
        gradients = jax.vjp(f, *at)[1](weights)
        backwards = sum(
            jnp.sum(g * d) for g, d in zip(gradients, direction, strict=True)
        )
        np.testing.assert_allclose(
            backwards, jnp.sum(weights * slope), rtol=1e-7, atol=scale
        )


class GaussianTest(TheoryTest):
    def test_likelihood_is_scipys(self):
        g, _ = random_problem(0, 4)
        x, y = theory.sample(jax.random.key(0), g, 50)
        expected = [
            -scipy.stats.multivariate_normal(s * g.mean, g.cov).logpdf(a)
            for a, s in zip(x, y, strict=True)
        ]
        np.testing.assert_allclose(theory.nll(g, x, y), expected, rtol=1e-10)

    def test_samples_have_the_moments_that_maximum_likelihood_finds(self):
        g, variances = random_problem(1, 3)
        x, y = theory.sample(jax.random.key(1), g, 100_000)
        self.assertAlmostEqual(float(y.mean()), 0, delta=0.015)
        found = theory.mle(x, y)
        error = 5 * np.sqrt(variances.max() / 100_000)
        np.testing.assert_allclose(found.mean, g.mean, atol=error)
        np.testing.assert_allclose(
            found.cov, g.cov, atol=5 * variances.max() * np.sqrt(2 / 100_000)
        )
        # No Gaussian near it is more likely.
        best = theory.nll(found, x, y).mean()
        slope = jax.grad(lambda g: theory.nll(g, x, y).mean())(found)
        np.testing.assert_allclose(slope.mean, 0, atol=1e-10)
        np.testing.assert_allclose(slope.cov, 0, atol=1e-10)
        self.assertLess(best, theory.nll(g, x, y).mean())

    def test_weights_are_the_likelihood_test(self):
        g, _ = random_problem(2, 3)
        x = jnp.array([[0.3, -1.0, 2.0]])
        one = jnp.ones(1)
        odds = (theory.nll(g, x, -one) - theory.nll(g, x, one))[0]
        np.testing.assert_allclose(2 * x[0] @ theory.weights(g), odds, rtol=1e-10)


class WorstPerturbationTest(TheoryTest):
    @parameterized.parameters(0.05, 1.0, 7.0)
    def test_brute_force_in_two_dimensions(self, epsilon):
        g, _ = random_problem(3, 2)
        x, y = theory.sample(jax.random.key(2), g, 6)
        angle = jnp.linspace(0, 2 * jnp.pi, 100_001)
        circle = epsilon * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
        for a, s in zip(x, y, strict=True):
            many = theory.nll(g, a[None] + circle, jnp.full(len(circle), s))
            d = theory.worst_perturbation(g, a[None], s[None], epsilon)
            np.testing.assert_allclose(
                theory.nll(g, a[None] + d, s[None])[0], many.max(), rtol=1e-9
            )
            self.assertGreaterEqual(
                float(d[0] @ circle[many.argmax()]), epsilon**2 * (1 - 1e-8)
            )

    @parameterized.product(d=(1, 3, 32), epsilon=(1e-3, 0.3, 30.0))
    def test_the_conditions_for_the_largest_value(self, d, epsilon):
        # (λΣ − I) δ = v with λσ_min ≥ 1 and ‖δ‖ = ε: for a ball these are sufficient.
        g, variances = random_problem(d, d)
        x, y = theory.sample(jax.random.key(3), g, 200)
        delta = theory.worst_perturbation(g, x, y, epsilon)
        v = x - y[:, None] * g.mean[None]
        np.testing.assert_allclose(jnp.linalg.norm(delta, axis=1), epsilon, rtol=1e-12)
        pushed = delta @ g.cov
        scale = jnp.sum(pushed * (v + delta), 1) / jnp.sum(pushed**2, 1)
        np.testing.assert_allclose(
            scale[:, None] * pushed - delta, v, rtol=1e-8, atol=1e-8 * (1 + epsilon)
        )
        self.assertGreaterEqual(float(scale.min()) * variances.min(), 1 - 1e-10)

    def test_long_pgd_comes_to_it(self):
        g, _ = random_problem(4, 5)
        x, y = theory.sample(jax.random.key(4), g, 30)
        walk = theory.pgd(0.8, steps=2000, step_size=0.08)(g, x, y)
        reached = theory.nll(g, x + walk, y)
        best = theory.robust_nll(g, x, y, 0.8)
        np.testing.assert_allclose(reached, best, rtol=1e-9)
        short = theory.pgd(0.8, steps=2, step_size=0.4)(g, x, y)
        self.assertTrue((theory.nll(g, x + short, y) < best).all())

    @parameterized.named_parameters(
        # v, variances, ε, expected.
        ("no_part", (0.0, 3.0), (1.0, 4.0), 2.0, (np.sqrt(3), 1.0)),
        ("no_part_but_far", (0.0, 3.0), (1.0, 4.0), 0.5, (0.0, 0.5)),
        ("negative_part", (-1e-40, 3.0), (1.0, 4.0), 2.0, (-np.sqrt(3), 1.0)),
        ("nothing", (0.0, 0.0), (1.0, 4.0), 2.0, (2.0, 0.0)),
        ("isotropic", (3.0, 4.0), (2.0, 2.0), 1.0, (0.6, 0.8)),
        ("nothing_isotropic", (0.0, 0.0), (2.0, 2.0), 1.0, (1.0, 0.0)),
        ("repeated", (0.0, 0.0, 3.0), (1.0, 1.0, 4.0), 2.0, None),
    )
    def test_hard_cases(self, v, variances, epsilon, expected):
        g = diagonal(np.zeros(len(v)), variances)
        delta = theory.worst_perturbation(g, jnp.array([v]), jnp.ones(1), epsilon)[0]
        if expected is None:
            np.testing.assert_allclose(delta[2], 1.0, rtol=1e-12)
            np.testing.assert_allclose(jnp.linalg.norm(delta[:2]), np.sqrt(3))
        else:
            np.testing.assert_allclose(delta, expected, atol=1e-12)

    def test_without_a_radius(self):
        g, _ = random_problem(5, 3)
        x, y = theory.sample(jax.random.key(5), g, 4)
        np.testing.assert_array_equal(theory.worst_perturbation(g, x, y, 0.0), 0 * x)
        # Its slope there is the steepest direction.
        slope = jax.jvp(
            lambda e: theory.worst_perturbation(g, x, y, e), (0.0,), (1.0,)
        )[1]
        steepest = jax.grad(lambda x: theory.nll(g, x, y).sum())(x)
        steepest /= jnp.linalg.norm(steepest, axis=1, keepdims=True)
        np.testing.assert_allclose(slope, steepest, atol=1e-10)

    @parameterized.parameters(0.01, 0.7, 5.0)
    def test_derivatives(self, epsilon):
        g, _ = random_problem(6, 3)
        x, y = theory.sample(jax.random.key(6), g, 5)
        turn = jnp.array([[0.2, 0.1, 0.0], [0.1, -0.1, 0.3], [0.0, 0.3, 0.1]])
        at = (g.mean, g.cov, x, jnp.array(epsilon))
        along = (jnp.array([0.1, -0.3, 0.2]), turn, jnp.sin(x), jnp.array(0.5))
        for f in (theory.worst_perturbation, theory.robust_nll):
            self.assert_slope(
                lambda mean, cov, x, e, f=f: f(theory.Gaussian(mean, cov), x, y, e),
                at,
                along,
            )

    @parameterized.parameters(0.0, 1.0)
    def test_derivatives_are_finite_where_there_is_none(self, epsilon):
        for variances in ((1.0, 1.0, 1.0), (1.0, 1.0, 4.0), (1.0, 2.0, 4.0)):
            g = diagonal((0.0, 0.0, 0.0), variances)
            x = jnp.array([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0], [1.0, 2.0, 3.0]])
            for f in (theory.worst_perturbation, theory.robust_nll):
                gradients = jax.grad(
                    lambda g, x, e, f=f: f(g, x, jnp.ones(3), e).sum(), (0, 1, 2)
                )(g, x, epsilon)
                chex.assert_tree_all_finite(gradients)

    def test_turns_with_the_problem(self):
        g, _ = random_problem(7, 4)
        x, y = theory.sample(jax.random.key(7), g, 6)
        turn = jnp.asarray(scipy.stats.ortho_group.rvs(4, random_state=0))
        other = theory.Gaussian(turn @ g.mean, turn @ g.cov @ turn.T)
        np.testing.assert_allclose(
            theory.worst_perturbation(other, x @ turn.T, y, 0.6),
            theory.worst_perturbation(g, x, y, 0.6) @ turn.T,
            atol=1e-10,
        )
        for epsilon in (0.0, 0.6):
            np.testing.assert_allclose(
                theory.robust_mle(other, epsilon).cov,
                turn @ theory.robust_mle(g, epsilon).cov @ turn.T,
                atol=1e-10,
            )


class VulnerabilityTest(TheoryTest):
    def test_a_million_samples(self):
        turn, cov = turned(0, np.array([0.3, 0.7, 2.0, 5.0]))
        g = theory.Gaussian(jnp.array([1.0, 0.0, -2.0, 0.5]), cov)
        x, y = theory.sample(jax.random.key(0), g, 1_000_000)
        attacked = x + theory.penalised_perturbation(g, x, y, 5.0)
        rise = theory.nll(g, attacked, y) - theory.nll(g, x, y)
        formula = theory.vulnerability(cov, 5.0)
        # The value of the formula in exact arithmetic, and four standard errors.
        np.testing.assert_allclose(formula, 4.6398186728, rtol=1e-9)
        self.assertAlmostEqual(
            float(rise.mean()), float(formula), delta=4 * float(rise.std()) / 1000
        )

    def test_penalised_perturbation_is_the_maximum(self):
        g, variances = random_problem(8, 3)
        x, y = theory.sample(jax.random.key(8), g, 5)
        penalty = 1.5 / variances.min()

        def gain(d):
            return theory.nll(g, x + d, y) - penalty / 2 * jnp.sum(d**2, -1)

        best = theory.penalised_perturbation(g, x, y, penalty)
        slope = jax.grad(lambda d: gain(d).sum())(best)
        np.testing.assert_allclose(slope, 0, atol=1e-9)
        self.assertTrue((gain(best) > gain(best + 0.1)).all())

    def test_equal_variances_are_least_vulnerable(self):
        generator = np.random.default_rng(0)
        for d in (2, 5):
            least = theory.vulnerability(jnp.eye(d), 4.0)
            for _ in range(100):
                s = 0.3 + (1 - 0.3) * d * generator.dirichlet(np.ones(d))
                self.assertAlmostEqual(s.sum(), d)
                cov = turned(1, s)[1]
                self.assertGreater(theory.vulnerability(cov, 4.0), least)

    def test_derivative(self):
        # The paper's appendix E.3.2, and half of it, as the value is.
        s = jnp.array([0.3, 0.7, 2.0])
        slope = jax.grad(lambda s: theory.vulnerability(jnp.diag(s), 5.0))(s)
        np.testing.assert_allclose(slope, -25 * s / (5 * s - 1) ** 3, rtol=1e-10)


def relaxed(variances, epsilon):
    """The variances that solve the relaxed problem, by convex optimisation in SciPy."""

    def objective(log):
        # The adversary's answer: M = 1 / (λσ − 1) with Σ M² σ* = ε².
        s = np.exp(log)
        u = np.exp(
            scipy.optimize.brentq(
                lambda u: (
                    np.log(np.sum(variances / ((1 + np.exp(u)) * s / s.min() - 1) ** 2))
                    - 2 * np.log(epsilon)
                ),
                -30,
                60,
                xtol=1e-14,
            )
        )
        second = (1 + 1 / ((1 + u) * s / s.min() - 1)) ** 2 * variances
        return np.sum(second / s + log) / 2, (1 - second / s) / 2

    start = np.log(variances + epsilon**2 / len(variances))
    found = scipy.optimize.minimize(
        objective, start, jac=True, method="BFGS", options={"gtol": 1e-11}
    )
    return np.exp(found.x)


class RobustTest(TheoryTest):
    def setUp(self):
        super().setUp()
        # Optax counts the steps of its line search in two integer types.
        self.enter_context(jax.numpy_dtype_promotion("standard"))

    @parameterized.parameters(
        (1.0, 0.6308210485, (28.08098108, 2.75996143)),
        (10.0, 0.01468379459, (123.71617366, 74.19297607)),
    )
    def test_values(self, epsilon, multiplier, variances):
        g = diagonal(*PAPER)
        robust = theory.robust_mle(g, epsilon)
        np.testing.assert_array_equal(robust.mean, g.mean)
        np.testing.assert_allclose(jnp.diag(robust.cov), variances, rtol=1e-9)
        np.testing.assert_allclose(
            theory.multiplier(g.cov, epsilon), multiplier, rtol=1e-9
        )

    @parameterized.product(d=(1, 4, 12, 32), epsilon=(1e-3, 0.1, 1.0, 30.0))
    def test_solves_the_relaxed_problem(self, d, epsilon):
        variances = np.sort(np.exp(np.random.default_rng(d).normal(size=d)))
        turn, cov = turned(d, variances) if d > 1 else (np.eye(1), variances[None])
        g = theory.Gaussian(jnp.ones(d), jnp.asarray(cov))
        expected = (turn * relaxed(variances, epsilon)) @ turn.T
        found = theory.robust_mle(g, epsilon).cov
        np.testing.assert_allclose(
            found, expected, atol=1e-6 * float(jnp.abs(found).max())
        )

    def test_limits(self):
        g, variances = random_problem(9, 4)
        np.testing.assert_allclose(theory.robust_mle(g, 0.0).cov, g.cov, rtol=1e-12)
        self.assertEqual(theory.multiplier(g.cov, 0.0), np.inf)
        near = theory.multiplier(g.cov, 1e-6)
        np.testing.assert_allclose(
            near, np.sqrt(np.sum(1 / variances)) / 1e-6, rtol=1e-4
        )
        far = 1e5
        np.testing.assert_allclose(
            theory.robust_mle(g, far).cov, far**2 / 4 * np.eye(4), atol=1e-4 * far**2
        )
        np.testing.assert_allclose(theory.multiplier(g.cov, far), 4 / far**2, rtol=1e-4)
        # Standard deviations of an isotropic Gaussian grow by ε / √d.
        round_one = diagonal(np.zeros(9), np.full(9, 4.0))
        np.testing.assert_allclose(
            theory.robust_mle(round_one, 0.6).cov, 2.2**2 * np.eye(9), rtol=1e-12
        )

    @parameterized.product(
        epsilon=(1e-4, 1.0, 10.0),
        variances=((0.5, 2.0, 3.0), (2.0, 2.0, 3.0), (1.0, 1.0, 1.0)),
    )
    def test_derivatives(self, epsilon, variances):
        cov = turned(3, np.array(variances))[1]
        tilt = jnp.array([[0.2, 0.1, 0.0], [0.1, -0.1, 0.3], [0.0, 0.3, 0.1]])
        at, along = (cov, jnp.array(epsilon)), (tilt, jnp.array(0.5))
        zero = jnp.zeros(3)
        self.assert_slope(
            lambda cov, e: theory.robust_mle(theory.Gaussian(zero, cov), e).cov,
            at,
            along,
        )
        self.assert_slope(lambda cov, e: 1 / theory.multiplier(cov, e)[None], at, along)

    def test_derivatives_without_a_radius(self):
        for cov in (jnp.diag(jnp.array([0.5, 2.0])), jnp.eye(2)):
            g = theory.Gaussian(jnp.zeros(2), cov)
            slope = jax.jacobian(lambda e, g=g: theory.robust_mle(g, e).cov)(0.0)
            # Variances grow by 2 / λ, and 1 / λ by one over the root of tr Σ⁻¹.
            expected = 2 / np.sqrt(np.sum(1 / np.diag(cov))) * np.eye(2)
            np.testing.assert_allclose(slope, expected, rtol=1e-10)
            of_cov = jax.jacobian(
                lambda c, g=g: theory.robust_mle(g._replace(cov=c), 0.0).cov
            )(cov)
            np.testing.assert_allclose(
                of_cov.reshape(4, 4) @ jnp.array([1.0, 0.5, 0.5, 2.0]),
                jnp.array([1.0, 0.5, 0.5, 2.0]),
                atol=1e-12,
            )

    @parameterized.parameters(1.0, 10.0)
    def test_exact_solution_on_a_grid_of_quantiles(self, epsilon):
        # The population's fixed point Σ = E (v + δ)(v + δ)ᵀ by a fine quadrature, with
        # the perturbation found as the root of its secular equation by SciPy.
        variances = np.array(PAPER[1])
        normal = scipy.stats.norm.ppf((np.arange(120) + 0.5) / 120)
        normal /= normal.std()
        grid = np.stack(np.meshgrid(normal, normal, indexing="ij"), -1).reshape(-1, 2)
        v = grid * np.sqrt(variances)
        x = jnp.asarray(np.array(PAPER[0]) + v)
        found = theory.exact_robust_mle(x, jnp.ones(len(x)), epsilon)
        s = np.diag(found.cov)
        np.testing.assert_allclose(found.mean, PAPER[0], atol=1e-3)
        self.assertLess(abs(float(found.cov[0, 1])), 1e-3)

        def delta(v):
            def length(log):
                d = v / ((1 + np.exp(log)) * s / s.min() - 1)
                return np.log(np.sum(d**2)) - 2 * np.log(epsilon)

            log = scipy.optimize.brentq(length, -30, 30, xtol=1e-13)
            return v / ((1 + np.exp(log)) * s / s.min() - 1)

        quadrant = v[(v > 0).all(1)]
        moved = np.stack([u + delta(u) for u in quadrant])
        np.testing.assert_allclose(np.mean(moved**2, 0), s, rtol=1e-3)
        # Near what the relaxed problem has, and not it.
        relaxed = jnp.diag(theory.robust_mle(diagonal(*PAPER), epsilon).cov)
        difference = np.abs(s / relaxed - 1).max()
        self.assertBetween(float(difference), 0.02, 0.12)

    def test_exact_solution_of_an_isotropic_gaussian(self):
        d, variance, epsilon = 2, 0.7, 0.9
        g = diagonal((3.0, 0.0), (variance, variance))
        x, y = theory.sample(jax.random.key(0), g, 20_000)
        found = theory.exact_robust_mle(x, y, epsilon).cov
        length = np.sqrt(variance) * scipy.stats.chi(d).mean()
        expected = variance + 2 * epsilon * length / d + epsilon**2 / d
        self.assertAlmostEqual(expected, 2.0487, places=4)
        np.testing.assert_allclose(found, expected * np.eye(d), atol=0.06)

    def test_training_by_the_exact_adversary_finds_the_exact_solution(self):
        # Not Gaussian but skew, so that the adversary moves the mean as well.
        spread = jnp.array([1.0, 0.7, 0.3])
        x = spread[None] * jax.random.exponential(jax.random.key(9), (600, 3))
        y = jnp.ones(600)
        best = theory.exact_robust_mle(x, y, 0.7)
        self.assertGreater(float(jnp.abs(best.mean - x.mean(0)).max()), 0.03)
        trained = theory.fit_robust_mle(x, y, theory.exact(0.7))
        np.testing.assert_allclose(trained.mean, best.mean, atol=2e-3)
        np.testing.assert_allclose(trained.cov, best.cov, atol=5e-3)
        # No other is better, in the objective itself.
        value = theory.robust_nll(best, x, y, 0.7).mean()
        self.assertLessEqual(
            float(value), float(theory.robust_nll(trained, x, y, 0.7).mean()) + 1e-9
        )
        self.assertLess(
            float(value), float(theory.robust_nll(theory.mle(x, y), x, y, 0.7).mean())
        )
        # A weaker adversary teaches a smaller covariance where it falls short.
        short = theory.fit_robust_mle(x, y, theory.pgd(0.7, steps=2, step_size=0.3))
        long = theory.fit_robust_mle(x, y, theory.pgd(0.7, steps=60, step_size=0.1))
        errors = [
            float(jnp.linalg.norm(other.cov - best.cov)) for other in (short, long)
        ]
        self.assertGreater(errors[0], 10 * errors[1])
        self.assertLess(errors[1], 0.02)

    def test_comes_to_the_closed_form_as_dimensions_grow(self):
        differences = []
        for d in (2, 40):
            g = diagonal(np.zeros(d), np.linspace(0.1, 1, d))
            epsilon = float(0.3 * jnp.sqrt(jnp.trace(g.cov)))
            x, y = theory.sample(jax.random.key(d), g, 2000)
            sampled = theory.mle(x, y)
            exact = theory.exact_robust_mle(x, y, epsilon)
            closed = theory.robust_mle(sampled, epsilon)
            ratio = jnp.diag(exact.cov) / jnp.diag(closed.cov)
            differences.append(float(jnp.abs(ratio - 1).max()))
        self.assertBetween(differences[0], 0.07, 0.12)
        self.assertLess(differences[1], 0.02)

    def test_nothing_to_withstand(self):
        g, _ = random_problem(11, 3)
        x, y = theory.sample(jax.random.key(10), g, 100)
        for fitted in (
            theory.exact_robust_mle(x, y, 0.0),
            theory.fit_robust_mle(x, y, theory.exact(0.0)),
        ):
            chex.assert_trees_all_close(fitted, theory.mle(x, y), rtol=1e-6)


class LinearTest(TheoryTest):
    def test_accuracy_and_usefulness_against_samples(self):
        g, _ = random_problem(12, 3)
        x, y = theory.sample(jax.random.key(11), g, 400_000)
        for w in jnp.array([[1.0, 0.2, -0.5], [-0.3, 1.0, 0.0]]):
            for norm, worst in (("l2", w / jnp.linalg.norm(w)), ("linf", jnp.sign(w))):
                for epsilon in (0.0, 0.3):
                    score = y * ((x - epsilon * y[:, None] * worst[None]) @ w)
                    self.assertAlmostEqual(
                        float(theory.accuracy(g, w, epsilon, norm)),
                        float((score > 0).mean()),
                        delta=0.004,
                    )
                    self.assertAlmostEqual(
                        float(theory.usefulness(g, w, epsilon, norm)),
                        float(score.mean() / (x @ w).std()),
                        delta=0.008,
                    )

    def test_the_likelihood_test_is_most_accurate_and_most_useful(self):
        g, _ = random_problem(13, 4)
        best = theory.weights(g)
        others = jax.random.normal(jax.random.key(0), (1000, 4))
        for measure in (theory.accuracy, theory.usefulness):
            self.assertTrue((measure(g, others) < measure(g, best)).all())
        m = g.mean @ best
        np.testing.assert_allclose(
            theory.usefulness(g, best), jnp.sqrt(m / (1 + m)), rtol=1e-12
        )

    def test_worst_alignment_is_the_least(self):
        g, variances = random_problem(14, 3)
        worst = theory.worst_alignment(g.cov)
        means = jax.random.normal(jax.random.key(1), (2000, 3))
        cosines = jax.vmap(lambda m: theory.alignment(theory.Gaussian(m, g.cov)))(means)
        self.assertTrue((cosines > worst).all())
        # It is reached between the outermost eigenvectors.
        _, basis = jnp.linalg.eigh(g.cov)
        s = np.sort(variances)
        mean = jnp.sqrt(s[0]) * basis[:, 0] + jnp.sqrt(s[-1]) * basis[:, -1]
        np.testing.assert_allclose(
            theory.alignment(theory.Gaussian(mean, g.cov)), worst, rtol=1e-9
        )

    def test_values_of_theorem_3(self):
        g = diagonal((0.0, 0.0, 0.0), (0.05, 1.0, 20.0))
        for epsilon, kappa, cosine in (
            (0.0, 400, 0.0998),
            (0.1, 197, 0.142),
            (0.5, 47, 0.285),
            (1.0, 20, 0.426),
            (3.0, 5.1, 0.739),
            (10.0, 1.9, 0.951),
        ):
            cov = theory.robust_mle(g, epsilon).cov
            self.assertAlmostEqual(
                float(theory.condition_number(cov)), kappa, delta=0.02 * kappa
            )
            self.assertAlmostEqual(
                float(theory.worst_alignment(cov)), cosine, delta=6e-4
            )

    @parameterized.parameters(2, 3, 11)
    def test_robust_training_aligns_every_gradient(self, d):
        @jax.jit
        @jax.vmap
        def gain(key):
            keys = jax.random.split(key, 3)
            variances = jnp.exp(2 * jax.random.normal(keys[0], (d,)))
            mean = jax.random.normal(keys[1], (d,))
            g = theory.Gaussian(mean, jnp.diag(variances))
            epsilon = 10 ** jax.random.uniform(keys[2], minval=-2, maxval=1)
            robust = theory.robust_mle(g, epsilon)
            return theory.alignment(robust) - theory.alignment(g)

        gains = gain(jax.random.split(jax.random.key(d), 4000))
        self.assertGreater(float(gains.min()), 0)
        # Within one eigenspace there is nothing to gain.
        g = diagonal((1.0, 0.0), (2.0, 5.0))
        robust = theory.robust_mle(g, 1.0)
        self.assertAlmostEqual(float(theory.alignment(robust)), 1)


class ShapesTest(chex.TestCase):
    def test_single_precision(self):
        g = diagonal(*PAPER)

        def everything(g):
            x, y = theory.sample(jax.random.key(0), g, 1000)
            return (
                x,
                theory.nll(g, x, y),
                theory.worst_perturbation(g, x, y, 1.0),
                theory.robust_nll(g, x, y, 1.0),
                theory.robust_mle(g, 1.0),
                theory.multiplier(g.cov, 1.0),
                theory.vulnerability(g.cov, 3.0),
                theory.accuracy(g, g.mean, 1.0),
                theory.alignment(g),
                theory.fit_robust_mle(x, y, theory.exact(1.0), steps=20),
                theory.exact_robust_mle(x, y, 1.0),
            )

        for leaf in jax.tree.leaves(jax.eval_shape(everything, g)):
            self.assertEqual(leaf.dtype, jnp.float32)
        x, y = theory.sample(jax.random.key(0), g, 1000)
        np.testing.assert_allclose(
            jnp.diag(theory.robust_mle(g, 10.0).cov), (123.716, 74.193), rtol=1e-5
        )
        delta = theory.worst_perturbation(g, x, y, 1.0)
        with jax.enable_x64(True):
            g, x, y = jax.tree.map(
                lambda a: jnp.asarray(np.asarray(a), jnp.float64), (g, x, y)
            )
            exact = theory.robust_nll(g, x, y, 1.0)
            reached = theory.nll(g, x + jnp.asarray(np.asarray(delta), jnp.float64), y)
            np.testing.assert_allclose(reached, exact, rtol=1e-5)

    def test_several_problems_at_once(self):
        @jax.jit
        def answer(mean, cov, epsilon):
            g = theory.Gaussian(mean, cov)
            x, y = jnp.array([[1.0, 2.0], [3.0, -1.0]]), jnp.array([1.0, -1.0])
            return (
                theory.robust_mle(g, epsilon),
                theory.worst_perturbation(g, x, y, epsilon),
                theory.vulnerability(cov, 5.0),
            )

        means = jnp.array([[1.0, 2.0], [0.0, 1.0]])
        covs = jnp.array([[[2.0, 0.3], [0.3, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
        epsilons = jnp.array([0.5, 2.0])
        together = jax.vmap(answer)(means, covs, epsilons)
        for i in range(2):
            alone = answer(means[i], covs[i], epsilons[i])
            chex.assert_trees_all_close(
                jax.tree.map(lambda a, i=i: a[i], together), alone, rtol=1e-4, atol=1e-5
            )


G = theory.Gaussian(np.zeros(2, np.float32), np.eye(2, dtype=np.float32))
X, Y = np.zeros((3, 2), np.float32), np.ones(3, np.float32)
FLAT = np.diag([1.0, 0.0]).astype(np.float32)
UNEVEN = np.array([[1.0, 0.5], [0.0, 1.0]], np.float32)


class RefusalTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("flat", lambda: theory.nll(G._replace(cov=FLAT), X, Y), "eigenvalue of 0"),
        ("negative", lambda: theory.weights(G._replace(cov=-G.cov)), "eigenvalue"),
        ("uneven", lambda: theory.robust_mle(G._replace(cov=UNEVEN), 1), r"cov \+ cov"),
        ("variances", lambda: theory.vulnerability(np.ones(2), 2), "jnp.diag"),
        ("sizes", lambda: theory.weights(G._replace(mean=np.zeros(3))), "3 dimensions"),
        ("batch", lambda: theory.weights(G._replace(mean=X)), "jax.vmap"),
        ("integers", lambda: theory.multiplier(np.eye(2, dtype=int), 1), "floating"),
        ("epsilon", lambda: theory.robust_mle(G, -0.1), "at least 0 .* got -0.1"),
        ("infinite", lambda: theory.multiplier(G.cov, np.inf), "finite, got inf"),
        ("nan", lambda: theory.worst_perturbation(G, X, Y, np.nan), "got nan"),
        ("radius", lambda: theory.robust_nll(G, X, Y, -1), "got -1"),
        ("fit", lambda: theory.exact_robust_mle(X, Y, -1), "got -1"),
        ("penalty", lambda: theory.vulnerability(G.cov, 1.0), "above 1 / .* = 1, and"),
        ("no_end", lambda: theory.vulnerability(G.cov, np.inf), "finite, got inf"),
        ("radii", lambda: theory.robust_mle(G, np.ones(3)), "one number.*jax.vmap"),
        ("weak", lambda: theory.penalised_perturbation(G, X, Y, 0.5), "no maximum"),
        ("shape", lambda: theory.nll(G, X[0], Y), r"x \[N, D\] with y \[N\]"),
        ("count", lambda: theory.worst_perturbation(G, X, Y[:2], 1), r"\(2,\)"),
        ("width", lambda: theory.nll(G, X[:, :1], Y), "1 dimensions, .* has 2"),
        ("labels", lambda: theory.mle(X, 0 * Y), r"2 \* y - 1"),
        ("few", lambda: theory.mle(X[:2], Y[:2]), "at least 3 are needed"),
        ("norm", lambda: theory.accuracy(G, np.ones(2), 1, "l1"), "got 'l1'"),
        ("weights", lambda: theory.usefulness(G, np.ones(3)), r"\[..., 2\]"),
        ("reach", lambda: theory.accuracy(G, np.ones(2), -1), "got -1"),
    )
    def test_refuses(self, ask, message):
        with self.assertRaisesRegex(ValueError, message):
            ask()
