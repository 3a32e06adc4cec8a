"""FAB's projections and distances against exact ones, and its promises."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nrf import attacks, losses, models
from nrf.attacks.autoattack import likeliest
from nrf.attacks.fab import cross

SHAPE = (6, 5, 4, 3)
NORMS = ("linf", "l2", "l1")


def difference(w, x, c):
    """A linear difference of logits; above 0 is wrong."""
    return jnp.einsum("hwc,bhwc->b", w, x) - c


def exact(norm, x, slope, change):
    """The smallest norm of d [D] with ⟨slope, d⟩ = change in the box, by sorting."""
    x, slope = (
        np.float64(x).ravel(),
        np.float64(slope).ravel() * (1 if change > 0 else -1),
    )
    weight, room = np.abs(slope), np.where(slope > 0, 1 - x, x)
    if norm == "l1":
        order = np.argsort(-weight)
        weight, room = weight[order], room[order]
        done = np.cumsum(weight * room) - weight * room
        return np.sum(np.clip((np.abs(change) - done) / weight, 0, room))
    pace = weight if norm == "l2" else np.ones_like(weight)
    order = np.argsort(room / pace)
    weight, room, pace = weight[order], room[order], pace[order]
    # With the first k pixels at their ends; the right k is the first that fits.
    full = np.cumsum(weight * room) - weight * room
    rate = np.cumsum((weight * pace)[::-1])[::-1]
    t = (np.abs(change) - full) / rate
    t = t[np.argmax(t <= room / pace)]
    d = np.minimum(room, t * pace)
    return d.max() if norm == "linf" else np.linalg.norm(d)


def norms_of(norm, d):
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    return np.linalg.norm(np.asarray(d).reshape(len(d), -1), order, axis=1)


def keys(count):
    return attacks.example_keys(jax.random.key(7), jnp.arange(count))


def small_network():
    model = models.Small((0.5,), (0.25,), widths=(4, 6)).build(3)
    x = jax.random.uniform(jax.random.key(0), (8, 8, 8, 1))
    params = model.init(jax.random.key(1), x)
    # An untrained network, right about all of them.
    return model, params, x, model.apply(params, x).logits.argmax(-1).astype(jnp.int32)


class LinearTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        key_w, key_x = jax.random.split(jax.random.key(0))
        self.w = jax.random.normal(key_w, SHAPE[1:])
        self.x = jax.random.uniform(key_x, SHAPE)
        self.slope = jnp.broadcast_to(self.w, SHAPE)

    def most(self, sign):
        """What all pixels together can change ⟨w, x⟩ by, upwards or downwards."""
        rise = self.w[None] * sign > 0
        room = jnp.where(rise, 1 - self.x, self.x)
        return sign * jnp.sum(jnp.abs(self.slope) * room, (1, 2, 3))

    @parameterized.product(
        norm=NORMS, share=[1e-4, 0.1, 0.6, 0.98], sign=[-1, 1], scale=[1e-18, 1.0]
    )
    def test_crosses_exactly(self, norm, share, sign, scale):
        # An example that has nothing to do must not end the search of the others.
        change = share * self.most(sign) * jnp.array([0.0, 1e-3, 0.3, 0.5, 0.9, 1.0])
        d = cross(norm, self.x, scale * self.slope, scale * change)
        reached = jnp.einsum("hwc,bhwc->b", self.w, d)
        np.testing.assert_allclose(reached, change, rtol=1e-5)
        self.assertGreaterEqual(float((self.x + d).min()), -1e-6)
        self.assertLessEqual(float((self.x + d).max()), 1 + 1e-6)
        best = [exact(norm, self.x[i], self.w, change[i]) for i in range(6)]
        np.testing.assert_allclose(norms_of(norm, d), best, rtol=1e-5)

    @parameterized.parameters(*NORMS)
    def test_goes_to_the_corner_where_the_boundary_is_out_of_reach(self, norm):
        self.w = self.w.at[0].set(0)  # Some pixels do not matter.
        slope = jnp.broadcast_to(self.w, SHAPE)
        d = cross(norm, self.x, slope, 3 * self.most(1))
        corner = jnp.broadcast_to(self.w > 0, SHAPE).astype(jnp.float32)
        np.testing.assert_allclose((self.x + d)[:, 1:], corner[:, 1:], atol=1e-6)
        np.testing.assert_array_equal(d[:, 0], jnp.zeros_like(d[:, 0]))

    @parameterized.parameters(*NORMS)
    def test_equal_slopes_in_all_pixels(self, norm):
        x = jnp.full((1, 2, 2, 1), 0.5)
        d = cross(norm, x, jnp.ones_like(x), jnp.array([1.0]))
        np.testing.assert_allclose(d.sum(), 1, rtol=1e-6)
        np.testing.assert_allclose(
            norms_of(norm, d), {"linf": 0.25, "l2": 0.5, "l1": 1.0}[norm], rtol=1e-6
        )

    @parameterized.parameters(*NORMS)
    def test_no_slope_no_move(self, norm):
        zero = jnp.zeros_like(self.x)
        for change in (jnp.ones(6), jnp.zeros(6)):
            np.testing.assert_array_equal(cross(norm, self.x, zero, change), zero)
        still = cross(norm, self.x, self.slope, jnp.zeros(6))
        np.testing.assert_array_equal(still, zero)

    @parameterized.product(norm=NORMS, share=[0.02, 0.3, 0.8])
    def test_distance_is_that_of_the_boundary(self, norm, share):
        change = share * self.most(1)
        c = jnp.einsum("hwc,bhwc->b", self.w, self.x) + change
        find = attacks.smallest(difference, getattr(attacks, norm)(1.0), steps=20)
        x_adv, distance = jax.jit(find)(self.w, self.x, c)
        best = [exact(norm, self.x[i], self.w, change[i]) for i in range(6)]
        np.testing.assert_allclose(distance, best, rtol=0.01)
        np.testing.assert_allclose(norms_of(norm, x_adv - self.x), distance, rtol=1e-5)
        self.assertGreater(float(difference(self.w, x_adv, c).min()), 0)

    def test_far_from_the_box_it_is_margin_over_dual_norm(self):
        x = 0.5 + 0.02 * (self.x - 0.5)
        c = jnp.einsum("hwc,bhwc->b", self.w, x) + 0.3
        for norm, dual in (("linf", 1), ("l2", 2), ("l1", np.inf)):
            find = attacks.smallest(difference, getattr(attacks, norm)(1.0), steps=3)
            _, distance = find(self.w, x, c)
            best = 0.3 / np.linalg.norm(np.ravel(self.w), dual)
            np.testing.assert_allclose(distance, np.full(6, best), rtol=0.01)

    def test_what_is_wrong_already_and_what_cannot_be_made_so(self):
        z = jnp.einsum("hwc,bhwc->b", self.w, self.x)
        c = jnp.where(jnp.arange(6) < 3, z - 1, z + 1.1 * self.most(1))
        find = attacks.smallest(difference, attacks.l2(1.0), steps=5)
        x_adv, distance = find(self.w, self.x, c)
        np.testing.assert_array_equal(x_adv, self.x)
        np.testing.assert_array_equal(distance, [0, 0, 0, np.inf, np.inf, np.inf])

    @parameterized.parameters(*NORMS)
    def test_zero_gradient_finds_nothing(self, norm):
        find = attacks.smallest(difference, getattr(attacks, norm)(1.0), steps=4)
        x_adv, distance = find(jnp.zeros_like(self.w), self.x, jnp.ones(6))
        np.testing.assert_array_equal(x_adv, self.x)
        np.testing.assert_array_equal(distance, np.full(6, np.inf))

    @parameterized.parameters(*NORMS)
    def test_the_attack_returns_x_where_nothing_is_in_the_ball(self, norm):
        change = jnp.linspace(0.1, 0.6, 6) * self.most(1)
        c = jnp.einsum("hwc,bhwc->b", self.w, self.x) + change
        best = np.array([exact(norm, self.x[i], self.w, change[i]) for i in range(6)])
        middle = np.sort(best)[2:4].mean()
        attack = attacks.fab(difference, getattr(attacks, norm)(middle), steps=20)
        x_adv = jax.jit(attack)(keys(6), self.w, self.x, c)
        broken = np.asarray(difference(self.w, x_adv, c) > 0)
        np.testing.assert_array_equal(broken, best < middle)
        np.testing.assert_array_equal(x_adv[~broken], self.x[~broken])
        self.assertLessEqual(norms_of(norm, x_adv - self.x).max(), middle * (1 + 1e-5))

    def test_the_final_search_shortens(self):
        c = jnp.einsum("hwc,bhwc->b", self.w, self.x) + 0.5

        def distance(halvings):
            find = attacks.smallest(
                difference, attacks.l2(1.0), steps=1, halvings=halvings
            )
            return np.asarray(find(self.w, self.x, c)[1])

        # One step overshoots by 5 %; three halvings leave at most an eighth of it all.
        best = [exact("l2", self.x[i], self.w, 0.5) for i in range(6)]
        np.testing.assert_allclose(distance(0) / best, np.full(6, 1.05), atol=5e-3)
        np.testing.assert_allclose(distance(12) / best, np.ones(6), atol=2e-3)


class PromisesTest(parameterized.TestCase):
    """On a small network: really wrong, never weaker, independent examples."""

    def setUp(self):
        super().setUp()
        self.model, self.params, self.x, self.y = small_network()
        self.loss = losses.margin(self.model.apply)

    def find(self, norm, rows=None, y=None, loss=None, **options):
        threat = getattr(attacks, norm)(1.0)
        find = attacks.smallest(loss or self.loss, threat, **{"steps": 15, **options})
        rows = np.arange(8) if rows is None else rows
        y = jax.tree.map(lambda a: a[rows], self.y if y is None else y)
        return jax.jit(find)(self.params, self.x[rows], y)

    @parameterized.parameters(*NORMS)
    def test_is_wrong_where_it_says_so_and_a_little_nearer_it_is_right(self, norm):
        x_adv, distance = self.find(norm)
        self.assertTrue(bool(jnp.isfinite(distance).all()))
        self.assertBetween(float(x_adv.min()), 0, 1)
        self.assertBetween(float(x_adv.max()), 0, 1)
        np.testing.assert_allclose(norms_of(norm, x_adv - self.x), distance, rtol=1e-5)
        self.assertGreater(float(self.loss(self.params, x_adv, self.y).min()), 0)
        nearer = self.x + 0.99 * (x_adv - self.x)
        self.assertLess(float(self.loss(self.params, nearer, self.y).max()), 0)

    def test_is_as_near_as_pgd_can_find(self):
        # With 3 % less than the radius that FAB found, PGD makes hardly any of them
        # wrong; with 3 % more, most of them.
        _, distance = self.find("l2", steps=40)

        @jax.jit
        def at(radius):
            attack = attacks.pgd(
                self.loss, attacks.l2(radius), steps=40, step_size=radius / 5
            )
            return attack(keys(8), self.params, self.x, self.y)

        x_adv = at(0.97 * distance[:, None, None, None])
        wrong = self.loss(self.params, x_adv, self.y) > 0
        self.assertLessEqual(int(wrong.sum()), 1)
        x_adv = at(1.03 * distance[:, None, None, None])
        wrong = self.loss(self.params, x_adv, self.y) > 0
        self.assertGreaterEqual(int(wrong.sum()), 5)

    def test_more_steps_are_never_weaker(self):
        few, many = (self.find("l2", steps=steps)[1] for steps in (3, 30))
        # Up to the final search, which halves other ways.
        self.assertTrue(bool((many <= few * 1.002).all()))

    def test_targeted_finds_the_target(self):
        logits = self.model.apply(self.params, self.x).logits
        pair = likeliest(logits, self.y, 1), self.y
        loss = losses.targeted_margin(self.model.apply)
        x_adv, distance = self.find("l2", loss=loss, y=pair)
        # The network, which is not trained, never predicts some of the targets.
        reached = jnp.isfinite(distance)
        self.assertTrue(bool(reached.any()))
        value = loss(self.params, x_adv, pair)
        np.testing.assert_array_equal(value > 0, reached)

    def test_the_judge_may_be_content_with_less(self):
        logits = self.model.apply(self.params, self.x).logits
        pair = likeliest(logits, self.y, 1), self.y
        loss = losses.targeted_margin(self.model.apply)
        _, target = self.find("l2", loss=loss, y=pair)
        self.assertTrue(bool(jnp.isinf(target).any()))
        judged = losses.judged(self.model.apply, losses.targeted_margin, losses.margin)
        _, wrong = self.find("l2", loss=judged, y=pair)
        self.assertTrue(bool((wrong <= target * 1.002).all()))
        self.assertTrue(bool(jnp.isfinite(wrong[jnp.isinf(target)]).any()))

    @parameterized.parameters(*NORMS)
    def test_an_example_does_not_depend_on_its_batch(self, norm):
        whole, distance = self.find(norm)
        rows = np.array([5, 2])
        part, of_part = self.find(norm, rows=rows)
        np.testing.assert_allclose(of_part, distance[rows], rtol=1e-3)
        np.testing.assert_allclose(part, whole[rows], atol=1e-3)

    def test_one_device_and_four_agree(self):
        attack = attacks.fab(self.loss, attacks.l2(3.0), steps=6)
        one = jax.jit(attack)(keys(8), self.params, self.x, self.y)
        mesh = Mesh(np.asarray(jax.devices()), ("data",))
        split = NamedSharding(mesh, PartitionSpec("data"))
        arguments = jax.device_put((keys(8), self.x, self.y), split)
        params = jax.device_put(self.params, NamedSharding(mesh, PartitionSpec()))
        four = jax.jit(attack)(arguments[0], params, *arguments[1:])
        self.assertLen(four.sharding.device_set, 4)
        np.testing.assert_allclose(four, one, atol=1e-3)

    def test_the_loss_is_traced_once_for_all_steps_and_once_for_the_search(self):
        self.addCleanup(chex.clear_trace_counter)  # It counts by the name of `loss`.
        traced = chex.assert_max_traces(lambda *given: self.loss(*given), n=2)
        attack = attacks.fab(traced, attacks.l2(0.5), steps=30)
        jax.jit(attack)(keys(8), self.params, self.x, self.y)

    def test_a_radius_may_be_an_argument(self):
        @jax.jit
        def at(epsilon):
            attack = attacks.fab(self.loss, attacks.l2(epsilon), steps=10)
            return attack(keys(8), self.params, self.x, self.y)

        moved = [
            int((norms_of("l2", at(jnp.float32(epsilon)) - self.x) > 0).sum())
            for epsilon in (1e-3, 10.0)
        ]
        self.assertEqual(moved, [0, 8])

    @parameterized.named_parameters(
        ("no_steps", attacks.l2(1.0), dict(steps=0), "steps must be at least 1, got 0"),
        ("halvings", attacks.l2(1.0), dict(halvings=-1), "halvings must be at least 0"),
        ("no_norm", attacks.free(), {}, "use linf, l2 or l1"),
    )
    def test_refuses(self, threat, options, message):
        with self.assertRaisesRegex(ValueError, message):
            attacks.fab(self.loss, threat, **{"steps": 5, **options})
