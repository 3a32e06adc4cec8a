"""Square's schedule and patterns worked out by hand, and its promises."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nrf import attacks, losses, models
from nrf.attacks import threat as threats
from nrf.attacks.square import (
    blobs,
    draw_numbers,
    move_square,
    set_square,
    sides,
    tiles,
)

SHAPE = (6, 5, 4, 3)
BALLS = (("linf", 0.1), ("l2", 0.7), ("l1", 4.0))


def linear_loss(w, x, y):
    return y * jnp.einsum("hwc,bhwc->b", w, x)


def keys(count):
    return attacks.example_keys(jax.random.key(7), jnp.arange(count))


def norms_of(norm, d):
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    return np.linalg.norm(np.asarray(d).reshape(len(d), -1), order, axis=1)


class PartsTest(parameterized.TestCase):
    def test_sides_by_hand(self):
        # Of 32 x 32 pixels, 0.8 / 2^k for k = 0 ... 9: √(0.8 * 1024) = 28.6, 20.2, ...
        whole = sides(10000, 32, 32, 0.8, 10000)
        at = [0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001, 9999]
        expected = [29, 29, 20, 14, 10, 7, 5, 4, 3, 2, 1, 1]
        np.testing.assert_array_equal(whole[at], expected)
        # The same schedule in a tenth of the queries.
        np.testing.assert_array_equal(whole[::10], sides(1000, 32, 32, 0.8, 1000))
        # Half of a search begins as the whole.
        np.testing.assert_array_equal(whole[:5000], sides(5000, 32, 32, 0.8, 10000))
        self.assertEqual(sides(1, 2, 9, 1.0, 1).tolist(), [2])

    def test_pattern_by_hand(self):
        rows, columns = map(jnp.array, np.mgrid[:5, :5])
        # Above, rings 1 + 1/4 + 1/9, 1/4 + 1/9, 1/9 around (1, 2); below around (3, 2).
        a, b, c = 1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9
        expected = [
            [c, b, b, b, c],
            [c, b, a, b, c],
            [-c, -b, -b, -b, -c],
            [-c, -b, -a, -b, -c],
            [-c, -b, -b, -b, -c],
        ]
        pattern = blobs(threats.l2(1.0), rows, columns, 5, (5, 5))
        np.testing.assert_allclose(pattern, expected, rtol=1e-6)
        # Of a column of row numbers and a row of column numbers likewise.
        lines = blobs(threats.l2(1.0), rows[:, :1], columns[:1], 5, (5, 5))
        np.testing.assert_array_equal(lines, pattern)
        # In l1 with the fourth powers.
        pattern = blobs(threats.l1(1.0), rows, columns, 5, (5, 5))
        a, b, c = 1 + 1 / 16 + 1 / 81, 1 / 16 + 1 / 81, 1 / 81
        np.testing.assert_allclose(pattern[0], [c, b, b, b, c], rtol=1e-6)
        np.testing.assert_allclose(pattern[1], [c, b, a, b, c], rtol=1e-6)

    def test_a_linf_proposal_is_one_square_of_one_sign_per_channel(self):
        d = jnp.zeros((7, 6, 3))
        corners = set()
        news = jax.jit(
            jax.vmap(
                lambda key: set_square(
                    attacks.linf(0.1), d, 3, draw_numbers(key, d.shape)
                )
            )
        )(keys(60))
        for new in np.asarray(news):
            rows, columns = (
                np.flatnonzero(new.any((1, 2))),
                np.flatnonzero(new.any((0, 2))),
            )
            self.assertEqual((len(rows), len(columns)), (3, 3))
            inside = new[rows[0] : rows[0] + 3, columns[0] : columns[0] + 3]
            np.testing.assert_allclose(np.abs(inside), 0.1, rtol=1e-6)
            self.assertTrue((inside == inside[:1, :1]).all())
            corners.add((int(rows[0]), int(columns[0])))
        # Every place of 5 x 4 is possible, to the last row and column.
        self.assertEqual({row for row, _ in corners}, set(range(5)))
        self.assertEqual({column for _, column in corners}, set(range(4)))

    @parameterized.parameters("l2", "l1")
    def test_a_proposal_uses_the_norm_up(self, norm):
        threat = getattr(attacks, norm)(0.5)
        d = tiles(threat, jax.random.key(0), (10, 11, 3), jnp.float32)
        np.testing.assert_allclose(norms_of(norm, d[None]), [0.5], rtol=1e-5)
        # 0.3 of 0.5 is in use before, and all of it after.
        d = 0.6 * d
        news = jax.jit(
            jax.vmap(lambda key: move_square(threat, d, 3, draw_numbers(key, d.shape)))
        )
        new = news(keys(20))
        # Only two windows of 3 x 3 differ.
        changed = np.any(np.asarray(new != d[None]), axis=3).sum((1, 2))
        self.assertBetween(int(changed.min()), 9, 18)
        self.assertEqual(changed.max(), 18)
        if norm == "l1":
            # The window has as much for every channel; the projection takes the rest.
            self.assertGreater(norms_of(norm, new).min(), 0.5)
            new = jax.vmap(lambda d: threat.project(d[None])[0])(new)
        np.testing.assert_allclose(norms_of(norm, new), np.full(20, 0.5), rtol=1e-5)

    def test_a_turned_pattern_is_the_transposed_one(self):
        d, draw = jnp.zeros((9, 9, 2)), draw_numbers(jax.random.key(0), (9, 9, 2))
        upright = draw._replace(turned=jnp.array(False))
        turned = draw._replace(turned=jnp.array(True), places=draw.places[:, ::-1])
        one, other = (
            move_square(attacks.l2(0.5), d, 5, draws) for draws in (upright, turned)
        )
        np.testing.assert_allclose(one, other.swapaxes(0, 1), rtol=1e-6)
        self.assertGreater(float(jnp.abs(one - one.swapaxes(0, 1)).max()), 0.01)

    def test_tiles_are_alike_up_to_signs(self):
        threat = attacks.l2(1.0)
        d = np.asarray(tiles(threat, jax.random.key(0), (10, 10, 2), jnp.float32))
        whole = np.abs(d).reshape(5, 2, 5, 2, 2)
        np.testing.assert_allclose(
            whole, np.broadcast_to(whole[:1, :, :1], whole.shape), rtol=1e-6
        )
        self.assertEqual(set(np.sign(d[1, 1::2, 0])), {-1, 1})


class LinearTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        key_w, key_x = jax.random.split(jax.random.key(0))
        self.w = jax.random.normal(key_w, SHAPE[1:])
        self.x = jax.random.uniform(key_x, SHAPE)
        self.y = jnp.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])

    def test_reaches_the_worst_case_in_linf(self):
        attack = attacks.square(linear_loss, attacks.linf(0.1), queries=2000)
        x_adv = jax.jit(attack)(keys(6), self.w, self.x, self.y)
        up = self.y[:, None, None, None] * jnp.sign(self.w)[None]
        best = jnp.clip(self.x + 0.1 * up, 0, 1)
        np.testing.assert_allclose(x_adv, best, atol=1e-6)

    @parameterized.parameters("l2", "l1")
    def test_reaches_the_worst_case_for_one_pixel(self, norm):
        # In an image of one pixel the pattern is the pixel.
        w, x = jnp.ones((1, 1, 1)), jnp.full((6, 1, 1, 1), 0.5)
        attack = attacks.square(linear_loss, getattr(attacks, norm)(0.2), queries=40)
        x_adv = attack(keys(6), w, x, self.y)
        best = 0.5 + 0.2 * self.y[:, None, None, None]
        np.testing.assert_allclose(x_adv, best, rtol=1e-5)

    @parameterized.parameters("l2", "l1")
    def test_finds_a_smooth_direction(self, norm):
        # Bright above, dark below: much of it is in reach of patterns of two blobs.
        rows = jnp.linspace(1, -1, 10)[:, None, None]
        w, x = jnp.broadcast_to(rows, (10, 10, 1)), jnp.full((6, 10, 10, 1), 0.5)
        threat = getattr(attacks, norm)(1.0)
        attack = jax.jit(attacks.square(linear_loss, threat, queries=1000))
        x_adv = attack(keys(6), w, x, self.y)
        gain = linear_loss(w, x_adv - x, self.y)
        best = np.linalg.norm(np.ravel(w), 2 if norm == "l2" else np.inf)
        self.assertGreater(float(gain.min()), 0.6 * best)

    def test_no_gradient_is_asked_for(self):
        @jax.custom_jvp
        def loss(w, x, y):
            return linear_loss(w, x, y)

        @loss.defjvp
        def _(primals, tangents):
            raise AssertionError("the gradient was asked for")

        attack = attacks.square(loss, attacks.linf(0.1), queries=3)
        jax.jit(attack)(keys(6), self.w, self.x, self.y)


class PromisesTest(parameterized.TestCase):
    """On a small network: allowed sets, stronger by queries, independent examples."""

    def setUp(self):
        super().setUp()
        model = models.Small((0.5,), (0.25,), widths=(4, 6)).build(3)
        self.x = jax.random.uniform(jax.random.key(0), (8, 8, 8, 1))
        self.params = model.init(jax.random.key(1), self.x)
        self.y = jnp.arange(8, dtype=jnp.int32) % 3
        self.loss = losses.margin(model.apply)

    def run_attack(self, threat, rows=None, **options):
        attack = attacks.square(self.loss, threat, **{"queries": 30, **options})
        rows = np.arange(8) if rows is None else rows
        return jax.jit(attack)(keys(8)[rows], self.params, self.x[rows], self.y[rows])

    def value(self, x):
        return np.asarray(self.loss(self.params, x, self.y))

    @parameterized.parameters(*BALLS)
    def test_stays_in_the_ball_and_in_the_box(self, norm, epsilon):
        # Half of them at the ends of the box, where half of all moves are forbidden.
        self.x = jnp.concatenate([self.x[:4], jnp.round(self.x[4:])])
        x_adv = self.run_attack(getattr(attacks, norm)(epsilon))
        norms = norms_of(norm, x_adv - self.x)
        self.assertLessEqual(norms.max(), epsilon * (1 + 1e-5))
        self.assertGreater(norms.min(), epsilon / 4)
        self.assertBetween(float(x_adv.min()), 0, 1)
        self.assertBetween(float(x_adv.max()), 0, 1)

    @parameterized.parameters(*BALLS[:2])
    def test_more_queries_are_stronger(self, norm, epsilon):
        one, few, many = (
            self.value(self.run_attack(getattr(attacks, norm)(epsilon), queries=count))
            for count in (1, 30, 300)
        )
        # All begin with the same proposal, and keep it unless they find better.
        self.assertTrue((few >= one - 1e-6).all())
        self.assertTrue((many >= one - 1e-6).all())
        self.assertGreater(many.mean(), few.mean())

    @parameterized.parameters(*BALLS[:2])
    def test_an_example_does_not_depend_on_its_batch(self, norm, epsilon):
        threat = getattr(attacks, norm)(epsilon)
        rows = np.array([5, 2])
        whole, part = self.run_attack(threat), self.run_attack(threat, rows=rows)
        np.testing.assert_allclose(part, whole[rows], atol=1e-5)

    def test_examples_draw_differently(self):
        self.x, self.y = self.x[:1].repeat(8, 0), self.y[:1].repeat(8, 0)
        x_adv = self.run_attack(attacks.linf(0.1), queries=1)
        self.assertGreater(float(jnp.abs(x_adv[0] - x_adv[1]).max()), 0.1)

    def test_one_device_and_four_agree(self):
        attack = attacks.square(self.loss, attacks.l2(0.7), queries=10)
        one = jax.jit(attack)(keys(8), self.params, self.x, self.y)
        mesh = Mesh(np.asarray(jax.devices()), ("data",))
        split = NamedSharding(mesh, PartitionSpec("data"))
        arguments = jax.device_put((keys(8), self.x, self.y), split)
        params = jax.device_put(self.params, NamedSharding(mesh, PartitionSpec()))
        four = jax.jit(attack)(arguments[0], params, *arguments[1:])
        self.assertLen(four.sharding.device_set, 4)
        np.testing.assert_allclose(four, one, atol=1e-5)

    def test_the_loss_is_traced_once_for_all_queries(self):
        self.addCleanup(chex.clear_trace_counter)  # It counts by the name of `loss`.
        traced = chex.assert_max_traces(lambda *given: self.loss(*given), n=1)
        attack = attacks.square(traced, attacks.linf(0.1), queries=50)
        jax.jit(attack)(keys(8), self.params, self.x, self.y)

    @parameterized.parameters(*BALLS)
    def test_a_radius_may_be_an_argument(self, norm, epsilon):
        threat = getattr(attacks, norm)

        @jax.jit
        def at(epsilon):
            attack = attacks.square(self.loss, threat(epsilon), queries=9)
            return attack(keys(8), self.params, self.x, self.y)

        fixed = self.run_attack(threat(epsilon), queries=9)
        np.testing.assert_allclose(at(jnp.float32(epsilon)), fixed, atol=1e-5)

    @parameterized.named_parameters(
        ("no_queries", threats.l2(1.0), dict(queries=0), "queries must be at least 1"),
        ("share", threats.l2(1.0), dict(share=1.5), r"share must be in \(0, 1\]"),
        (
            "schedule",
            threats.l2(1.0),
            dict(queries=9, schedule=8),
            "at least queries, 9",
        ),
        ("no_ball", threats.free(), {}, "use linf, l2 or l1"),
    )
    def test_refuses(self, threat, options, message):
        with self.assertRaisesRegex(ValueError, message):
            attacks.square(self.loss, threat, **{"queries": 5, **options})
