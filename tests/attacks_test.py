"""Attacks against closed forms, their promises, and an independent implementation."""

import itertools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nrf import attacks, losses, models
from nrf.attacks.threat import land

SHAPE = (6, 5, 4, 3)


def linear_loss(w, x, y):
    """Every threat's worst case is known: straight along y * w."""
    return y * jnp.einsum("hwc,bhwc->b", w, x)


def flat(x):
    return x.reshape(len(x), -1)


def keys(count):
    return attacks.example_keys(jax.random.key(7), jnp.arange(count))


def threats():
    return parameterized.named_parameters(
        ("linf", attacks.linf, np.inf, 0.1), ("l2", attacks.l2, 2, 0.7)
    )


def small_network():
    model = models.Small((0.5,), (0.25,), widths=(4, 6)).build(3)
    x = jax.random.uniform(jax.random.key(0), (8, 8, 8, 1))
    return (
        model,
        model.init(jax.random.key(1), x),
        x,
        jnp.arange(8, dtype=jnp.int32) % 3,
    )


class LinearTest(chex.TestCase, parameterized.TestCase):
    """On a linear loss, where the worst case has a closed form."""

    def setUp(self):
        super().setUp()
        key_w, key_x = jax.random.split(jax.random.key(0))
        self.w = jax.random.normal(key_w, SHAPE[1:])
        # Far enough from 0 and 1 for the pixels not to matter.
        self.x = jax.random.uniform(key_x, SHAPE, minval=0.4, maxval=0.6)
        self.y = jnp.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(
        case=[("linf", np.inf, 0.1), ("l2", 2, 0.3)], random_start=[True, False]
    )
    def test_reaches_the_worst_case(self, case, random_start):
        norm, order, epsilon = case
        attack = attacks.pgd(
            linear_loss,
            getattr(attacks, norm)(epsilon),
            steps=30,
            step_size=epsilon / 3,
            random_start=random_start,
        )
        x_adv = self.variant(attack)(keys(6), self.w, self.x, self.y)
        gain = linear_loss(self.w, x_adv - self.x, self.y)
        dual = 1 if order == np.inf else 2
        best = epsilon * np.linalg.norm(self.w.ravel(), dual)
        np.testing.assert_allclose(gain, np.full(6, best), rtol=1e-4)

    def test_negated_loss_goes_the_other_way(self):
        attack = attacks.pgd(
            losses.negate(linear_loss), attacks.l2(0.3), steps=30, step_size=0.1
        )
        x_adv = attack(keys(6), self.w, self.x, self.y)
        gain = linear_loss(self.w, x_adv - self.x, self.y)
        best = -0.3 * np.linalg.norm(self.w)
        np.testing.assert_allclose(gain, np.full(6, best), rtol=1e-4)

    def test_free_threat_reaches_the_corner_of_the_pixels(self):
        attack = attacks.pgd(linear_loss, attacks.free(), steps=200, step_size=0.5)
        x_adv = attack(keys(6), self.w, self.x, self.y)
        corner = (self.w[None] * self.y[:, None, None, None] > 0).astype(jnp.float32)
        np.testing.assert_allclose(x_adv, corner, atol=1e-6)

    @threats()
    def test_clips_to_pixels_at_every_step(self, threat, order, epsilon):
        x = jnp.round(self.x)  # On the box, so that half of all moves are forbidden.
        attack = attacks.pgd(linear_loss, threat(epsilon), steps=5, step_size=epsilon)
        x_adv = attack(keys(6), self.w, x, self.y)
        self.assertBetween(float(x_adv.min()), 0, 1)
        self.assertBetween(float(x_adv.max()), 0, 1)
        self.assertGreater(float(jnp.abs(x_adv - x).max()), 0)

    def test_zero_gradient_is_a_zero_step(self):
        for threat in (attacks.linf(0.1), attacks.l2(0.1), attacks.free()):
            attack = attacks.pgd(linear_loss, threat, steps=3, step_size=0.1)
            x_adv = attack(keys(6), jnp.zeros_like(self.w), self.x, self.y)
            np.testing.assert_array_equal(x_adv, self.x)


class PromisesTest(chex.TestCase, parameterized.TestCase):
    """On a small network: allowed sets, never weaker, independent examples."""

    def setUp(self):
        super().setUp()
        self.model, self.params, self.x, self.y = small_network()
        self.loss = losses.cross_entropy(self.model.apply)

    def run_attack(self, threat, x=None, y=None, rows=None, **options):
        options = {"steps": 5, "step_size": 0.2, **options}
        attack = jax.jit(attacks.pgd(self.loss, threat, **options))
        x = self.x if x is None else x
        y = self.y if y is None else y
        rows = np.arange(len(x)) if rows is None else rows
        return attack(keys(len(self.x))[rows], self.params, x[rows], y[rows])

    @threats()
    def test_stays_in_the_ball_and_in_the_box(self, threat, order, epsilon):
        for random_start, keep_best in itertools.product((True, False), repeat=2):
            x_adv = self.run_attack(
                threat(epsilon), random_start=random_start, keep_best=keep_best
            )
            norms = np.linalg.norm((x_adv - self.x).reshape(8, -1), order, axis=1)
            self.assertLessEqual(norms.max(), epsilon * (1 + 1e-5))
            self.assertGreater(norms.max(), epsilon / 2)
            self.assertBetween(float(x_adv.min()), 0, 1)
            self.assertBetween(float(x_adv.max()), 0, 1)

    @threats()
    def test_random_starts_fill_the_ball(self, threat, order, epsilon):
        x = jnp.full((400, 2, 2, 1), 0.5)
        d = threat(epsilon).sample(keys(400), x).reshape(400, -1)
        norms = np.linalg.norm(d, order, axis=1)
        self.assertLessEqual(norms.max(), epsilon)
        # P(norm <= r) = (r / epsilon)^4 in four dimensions, for both balls.
        np.testing.assert_allclose((norms / epsilon).mean(), 4 / 5, atol=0.02)
        np.testing.assert_allclose(d.mean(0), np.zeros(4), atol=0.06 * epsilon)

    def test_random_starts_differ_by_example_and_key(self):
        x = jnp.full((2, 3, 3, 1), 0.5)
        d = attacks.l2(1.0).sample(keys(2), x)
        self.assertGreater(float(jnp.abs(d[0] - d[1]).max()), 0.01)

    @parameterized.product(steps=[(1, 3), (3, 10)], random_start=[True, False])
    def test_more_steps_are_never_weaker_with_keep_best(self, steps, random_start):
        few, many = (
            self.loss(
                self.params,
                self.run_attack(
                    attacks.l2(0.5),
                    steps=count,
                    random_start=random_start,
                    keep_best=True,
                    step_size=0.7,
                ),
                self.y,
            )
            for count in steps
        )
        self.assertTrue(bool((many >= few).all()))
        self.assertGreater(float((many - few).max()), 0)

    def test_keep_best_is_never_worse_than_x_or_the_last(self):
        options = {"step_size": 3.0, "steps": 4}  # Large enough to overshoot.
        last = self.run_attack(attacks.l2(2.0), **options)
        best = self.run_attack(attacks.l2(2.0), keep_best=True, **options)
        losses_of = [self.loss(self.params, x, self.y) for x in (self.x, last, best)]
        self.assertTrue(bool((losses_of[2] >= losses_of[0]).all()))
        self.assertTrue(bool((losses_of[2] >= losses_of[1]).all()))
        self.assertGreater(float((losses_of[2] - losses_of[1]).max()), 0)

    def test_more_restarts_are_never_weaker_and_worst_per_example(self):
        values = [
            self.loss(
                self.params,
                self.run_attack(
                    attacks.l2(0.5), random_start=True, restarts=count, steps=2
                ),
                self.y,
            )
            for count in (1, 2, 5)
        ]
        # Batches of 8, 16 and 40 images round differently.
        self.assertTrue(bool((values[1] >= values[0] - 1e-5).all()))
        self.assertTrue(bool((values[2] >= values[1] - 1e-5).all()))
        self.assertGreater(float((values[2] - values[0]).max()), 1e-4)
        # Not every example improves by a second start: the choice is per example.
        self.assertTrue(bool((values[1] < values[0] + 1e-5).any()))

    def test_an_example_does_not_depend_on_its_batch(self):
        whole = self.run_attack(attacks.l2(0.5), random_start=True)
        rows = np.array([5, 2])
        part = self.run_attack(attacks.l2(0.5), random_start=True, rows=rows)
        np.testing.assert_allclose(part, whole[rows], atol=1e-6)

    def test_one_device_and_four_agree(self):
        attack = attacks.pgd(
            self.loss,
            attacks.linf(0.1),
            steps=4,
            step_size=0.05,
            random_start=True,
            restarts=2,
        )
        one = jax.jit(attack)(keys(8), self.params, self.x, self.y)
        mesh = Mesh(np.asarray(jax.devices()), ("data",))
        self.assertEqual(mesh.size, 4)
        split = NamedSharding(mesh, PartitionSpec("data"))
        arguments = jax.device_put((keys(8), self.x, self.y), split)
        params = jax.device_put(self.params, NamedSharding(mesh, PartitionSpec()))
        four = jax.jit(attack)(arguments[0], params, *arguments[1:])
        self.assertLen(four.sharding.device_set, 4)
        np.testing.assert_allclose(four, one, atol=1e-5)

    def test_runs_under_vmap(self):
        attack = attacks.pgd(self.loss, attacks.l2(0.5), steps=3, step_size=0.2)
        alone = attack(keys(8), self.params, self.x, self.y)

        def one(key, x, y):
            return attack(key[None], self.params, x[None], y[None])[0]

        np.testing.assert_allclose(
            jax.vmap(one)(keys(8), self.x, self.y), alone, atol=1e-5
        )

    def test_the_loss_is_traced_once_for_all_steps(self):
        self.addCleanup(chex.clear_trace_counter)  # It counts by the name of `loss`.
        traced = chex.assert_max_traces(lambda *given: self.loss(*given), n=1)
        attack = attacks.pgd(traced, attacks.l2(0.5), steps=9, step_size=0.2)
        jax.jit(attack)(keys(8), self.params, self.x, self.y)

    def test_a_radius_and_the_steps_may_be_arguments(self):
        @jax.jit
        def at(epsilon, steps):
            attack = attacks.pgd(
                self.loss, attacks.l2(epsilon), steps=steps, step_size=epsilon / 2
            )
            return attack(keys(8), self.params, self.x, self.y)

        for epsilon, steps in ((0.1, 3), (0.4, 3), (0.4, 1)):
            fixed = self.run_attack(
                attacks.l2(epsilon), steps=steps, step_size=epsilon / 2
            )
            there = at(jnp.float32(epsilon), jnp.int32(steps))
            np.testing.assert_allclose(there, fixed, atol=1e-6)

    def test_steps_that_shrink_are_known(self):
        @jax.jit
        def at(steps):
            attack = attacks.pgd(
                self.loss, attacks.free(), steps=steps, step_size=0.1, decay=True
            )
            return attack(keys(8), self.params, self.x, self.y)

        with self.assertRaisesRegex(ValueError, "steps that are known"):
            at(jnp.int32(3))


class L1Test(parameterized.TestCase):
    """The l1 ball: its projections, its steps, and what pgd reaches with them."""

    def setUp(self):
        super().setUp()
        key_w, key_x, key_d = jax.random.split(jax.random.key(0), 3)
        self.w = jax.random.normal(key_w, SHAPE[1:])
        self.x = jax.random.uniform(key_x, SHAPE)
        self.d = jax.random.normal(key_d, SHAPE)

    def shrunk(self, d, room, epsilon):
        """The nearest point, with the λ found by trying all that pixels allow."""
        size, room = np.abs(np.float64(d)).ravel(), np.float64(room).ravel()

        def total(by):
            return np.sum(np.clip(size - by, 0, room))

        if total(0) <= epsilon:
            return np.clip(size, 0, room)
        ends = np.sort(np.concatenate([size, np.maximum(size - room, 0)]))
        low = ends[[total(end) > epsilon for end in ends]].max(initial=0)
        high = ends[[total(end) <= epsilon for end in ends]].min()
        share = (total(low) - epsilon) / (total(low) - total(high))
        return np.clip(size - low - share * (high - low), 0, room)

    @parameterized.parameters(0.01, 1.0, 10.0, 1000.0)
    def test_projects_onto_the_ball(self, epsilon):
        nearest = jax.jit(attacks.l1(epsilon).project)(self.d)
        for d, p in zip(np.asarray(self.d), np.asarray(nearest), strict=True):
            expected = self.shrunk(d, np.full(d.shape, 1e9), epsilon)
            np.testing.assert_allclose(np.abs(p).ravel(), expected, atol=1e-5)
            self.assertTrue((p * d >= 0).all())
            self.assertLessEqual(np.abs(p).sum(), epsilon * (1 + 1e-5))

    @parameterized.parameters(0.01, 1.0, 10.0, 1000.0)
    def test_lands_in_the_ball_and_the_box_at_once(self, epsilon):
        nearest = land(attacks.l1(epsilon), self.x, self.d)
        for x, d, p in zip(*map(np.asarray, (self.x, self.d, nearest)), strict=True):
            room = np.where(d > 0, 1 - x, x)
            expected = self.shrunk(d, room, epsilon)
            np.testing.assert_allclose(np.abs(p - x).ravel(), expected, atol=1e-5)
            self.assertBetween(p.min(), 0, 1)
            self.assertBetween(p.max(), 0, 1)

    def test_steps_move_the_steepest_pixels_alike(self):
        slope = jnp.array([[3.0, -5.0], [0.5, 4.0]])[None, :, :, None]
        half = attacks.l1(1.0, share=0.5).steepest(slope)[0, :, :, 0]
        np.testing.assert_allclose(half, [[0, -0.5], [0, 0.5]])
        one = attacks.l1(1.0).steepest(slope)[0, :, :, 0]
        np.testing.assert_allclose(one, [[0, -1], [0, 0]])

    def test_random_starts_fill_the_ball(self):
        x = jnp.full((400, 2, 2, 1), 0.5)
        d = attacks.l1(2.0).sample(keys(400), x).reshape(400, -1)
        norms = np.abs(d).sum(1)
        self.assertLessEqual(norms.max(), 2.0 * (1 + 1e-5))
        # P(norm <= r) = (r / epsilon)^4 in four dimensions, as in the other balls.
        np.testing.assert_allclose((norms / 2).mean(), 4 / 5, atol=0.02)
        np.testing.assert_allclose(np.mean(d, 0), np.zeros(4), atol=0.1)
        # The largest of four uniform shares is (1 + 1/2 + 1/3 + 1/4) / 4 on average.
        largest = np.abs(d).max(1) / norms
        np.testing.assert_allclose(largest.mean(), 25 / 48, atol=0.02)

    def test_pgd_reaches_the_worst_case_of_the_ball_and_the_box(self):
        attack = attacks.pgd(linear_loss, attacks.l1(3.0), steps=60, step_size=0.3)
        x_adv = jax.jit(attack)(keys(6), self.w, self.x, jnp.ones(6))
        gain = linear_loss(self.w, x_adv - self.x, jnp.ones(6))
        order = np.argsort(-np.abs(np.ravel(self.w)))
        for x, gained in zip(np.asarray(self.x), gain, strict=True):
            room = np.where(self.w > 0, 1 - x, x).ravel()[order]
            moved = np.clip(3.0 - (np.cumsum(room) - room), 0, room)
            best = np.sum(np.abs(np.ravel(self.w))[order] * moved)
            self.assertBetween(float(gained), 0.97 * best, best * (1 + 1e-5))
        norms = np.abs(np.asarray(x_adv - self.x)).reshape(6, -1).sum(1)
        self.assertLessEqual(norms.max(), 3.0 * (1 + 1e-5))

    def test_a_step_that_cannot_be_taken_is_not_tried(self):
        # The steepest pixel is at its end already; the second is not.
        w = jnp.array([3.0, 2.0]).reshape(1, 2, 1)
        x = jnp.array([1.0, 0.5]).reshape(1, 1, 2, 1)
        attack = attacks.pgd(linear_loss, attacks.l1(0.2), steps=4, step_size=0.1)
        x_adv = attack(keys(1), w, x, jnp.ones(1))
        np.testing.assert_allclose(x_adv.ravel(), [1.0, 0.7], rtol=1e-5)

    def test_zero_gradient_is_a_zero_step(self):
        attack = attacks.pgd(linear_loss, attacks.l1(0.1), steps=3, step_size=0.1)
        x_adv = attack(keys(6), jnp.zeros_like(self.w), self.x, jnp.ones(6))
        np.testing.assert_array_equal(x_adv, self.x)


class MomentumTest(parameterized.TestCase):
    def test_follows_the_sum_of_normalised_gradients(self):
        # One image of two pixels, and a gradient that turns at every step.
        def loss(params, x, y):
            return jnp.sum(x * jax.lax.stop_gradient(jnp.sin(40 * x)), (1, 2, 3))

        x = jnp.array([0.4, 0.7]).reshape(1, 1, 2, 1)
        attack = attacks.pgd(loss, attacks.free(), steps=4, step_size=0.1, momentum=0.5)
        here, speed = np.array([0.4, 0.7]), np.zeros(2)
        for _ in range(4):
            slope = np.sin(40 * here)
            speed = 0.5 * speed + slope / np.abs(slope).sum()
            here = np.clip(here + 0.1 * speed / np.linalg.norm(speed), 0, 1)
        x_adv = attack(keys(1), None, x, jnp.zeros(1))
        np.testing.assert_allclose(x_adv.ravel(), here, atol=1e-4)

    def test_none_is_the_same_program(self):
        def lowered(**options):
            attack = attacks.pgd(
                linear_loss, attacks.l2(0.5), steps=3, step_size=0.2, **options
            )
            x = jnp.full(SHAPE, 0.5)
            arguments = keys(6), jnp.ones(SHAPE[1:]), x, jnp.ones(6)
            return jax.jit(attack).lower(*arguments).as_text()

        self.assertEqual(lowered(), lowered(momentum=0.0))
        self.assertNotEqual(lowered(), lowered(momentum=1.0))

    @threats()
    def test_reaches_the_worst_case(self, ball, order, epsilon):
        w = jax.random.normal(jax.random.key(0), SHAPE[1:])
        x, y = jnp.full(SHAPE, 0.5), jnp.ones(6)
        attack = attacks.pgd(
            linear_loss, ball(epsilon), steps=20, step_size=epsilon / 5, momentum=1.0
        )
        gain = linear_loss(w, attack(keys(6), w, x, y) - x, y)
        best = epsilon * np.linalg.norm(w.ravel(), 1 if order == np.inf else 2)
        np.testing.assert_allclose(gain, np.full(6, best), rtol=1e-4)

    def test_zero_gradient_is_a_zero_step(self):
        x = jnp.full(SHAPE, 0.5)
        attack = attacks.pgd(
            linear_loss, attacks.l2(0.1), steps=3, step_size=0.1, momentum=1.0
        )
        x_adv = attack(keys(6), jnp.zeros(SHAPE[1:]), x, jnp.ones(6))
        np.testing.assert_array_equal(x_adv, x)


class DecayTest(parameterized.TestCase):
    def test_steps_shrink_linearly_to_nothing(self):
        # The first pixel climbs all the way: 0.4 · (1 + 3/4 + 1/2 + 1/4) = 1.
        x = jnp.zeros((1, 1, 2, 1))
        w = jnp.array([1.0, 0.0]).reshape(1, 2, 1)
        for steps, reached in ((1, 0.4), (2, 0.6), (4, 1.0)):
            attack = attacks.pgd(
                linear_loss, attacks.free(), steps=steps, step_size=0.4, decay=True
            )
            x_adv = attack(keys(1), w, x, jnp.ones(1))
            np.testing.assert_allclose(x_adv.ravel(), [reached, 0], rtol=1e-6)

    def test_ends_nearer_to_a_goal_than_equal_steps(self):
        # Equal steps of 0.1 go to and fro over the goal, at 0.05 from it on average.
        goal = jax.random.uniform(jax.random.key(0), SHAPE)
        loss = losses.negate(losses.feature_distance(lambda params, x: flat(x)))
        start = jnp.full(SHAPE, 0.5)
        apart = []
        for decay in (False, True):
            attack = attacks.pgd(
                loss, attacks.free(), steps=200, step_size=0.1, decay=decay
            )
            reached = attack(keys(6), None, start, flat(goal))
            apart.append(-np.asarray(loss(None, reached, flat(goal))))
        self.assertGreater(apart[0].mean(), 0.03)
        self.assertLess(apart[1].max(), 1e-3)


class ProgramTest(parameterized.TestCase):
    """What makes compiled attacks slow on CPUs, and cannot be seen in their results."""

    def text(self, function, *arrays):
        if jax.default_backend() != "cpu":
            self.skipTest("of CPUs")
        return jax.jit(function).lower(*arrays).compile().as_text()

    def test_sums_of_the_projection_in_l1_have_no_branches(self):
        x = jnp.full(SHAPE, 0.5)
        text = self.text(lambda x, d: land(attacks.l1(1.0), x, d), x, x)
        self.assertIn("f32[6,5,4,3]", text)
        self.assertNotRegex(text, r"f32\[6,5,4,3\]\S* (minimum|maximum|clamp)\(")

    @parameterized.parameters(
        (attacks.apgd(linear_loss, attacks.l2(0.5), steps=3),),
        (attacks.apgd(linear_loss, attacks.l1(3.0), steps=3),),
        (attacks.fab(linear_loss, attacks.linf(0.1), steps=3, halvings=0),),
        (attacks.square(linear_loss, attacks.l2(0.5), queries=3),),
    )
    def test_loops_go_through_rows_of_pixels(self, attack):
        # One at a time, channels would be as many short loops as there are pixels.
        w, y = jnp.ones(SHAPE[1:]), jnp.ones(6)
        text = self.text(attack, keys(6), w, jnp.full(SHAPE, 0.5), y)
        loop = [line for line in text.splitlines() if "/while/body/" in line]
        self.assertTrue([line for line in loop if "f32[6,1,5,12]" in line])
        short = r" = f32\[6,5,4,3\]\S* (?!bitcast|get-tuple-element|reshape)[\w-]+\("
        self.assertEqual([line for line in loop if re.search(short, line)], [])


class FoolboxTest(parameterized.TestCase):
    """Equal to an independent implementation, run eagerly."""

    @threats()
    def test_equals_foolbox(self, threat, order, epsilon):
        import foolbox

        model, params, x, y = small_network()
        # Its inner workings promote ranks and types.
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            theirs = foolbox.JAXModel(
                lambda x: model.apply(params, x).logits, bounds=(0, 1)
            )
            name = {np.inf: "LinfPGD", 2: "L2PGD"}[order]
            pgd = getattr(foolbox.attacks, name)(
                abs_stepsize=epsilon / 4, steps=10, random_start=False
            )
            expected, _, _ = pgd(theirs, x, y, epsilons=epsilon)
        loss = losses.cross_entropy(model.apply)
        ours = attacks.pgd(loss, threat(epsilon), steps=10, step_size=epsilon / 4)
        np.testing.assert_allclose(
            ours(keys(8), params, x, y), np.asarray(expected), atol=1e-5
        )


class RefusalsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("grey_levels", lambda: attacks.linf(8), r"got 8; .* write k / 255"),
        ("negative", lambda: attacks.l2(-0.5), "positive.*got -0.5"),
        ("nan", lambda: attacks.l2(float("nan")), "got nan"),
        ("l1", lambda: attacks.l1(-0.5), "l1 epsilon must be positive.*got -0.5"),
        ("l1_share", lambda: attacks.l1(1.0, share=0), r"share of pixels .* got 0"),
        ("momentum", dict(momentum=-1.0), r"momentum must be in \[0, 1\], got -1"),
        ("no_steps", dict(steps=0), "steps must be at least 1, got 0"),
        ("negative_steps", dict(steps=-3), "got -3"),
        ("no_step_size", dict(step_size=0.0), "step_size must be positive .* got 0"),
        ("no_restarts", dict(restarts=0), "restarts must be at least 1"),
        ("equal_restarts", dict(restarts=3), "repeat one run"),
    )
    def test_options(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            if callable(options):
                options()
            else:
                attacks.pgd(
                    linear_loss,
                    attacks.l2(0.5),
                    **{"steps": 5, "step_size": 0.1, **options},
                )

    @parameterized.named_parameters(
        ("bytes", np.zeros((2, 4, 4, 1), np.uint8), r"got uint8; .* x / 255"),
        ("too_bright", np.full((2, 4, 4, 1), 255.0, np.float32), "from 255 to 255"),
        ("normalised", np.full((2, 4, 4, 1), -1.0, np.float32), "normalisation"),
        ("nan", np.full((2, 4, 4, 1), np.nan, np.float32), "got values from nan"),
        ("one_image", np.zeros((4, 4, 1), np.float32), r"write x\[None\]"),
    )
    def test_images(self, x, message):
        attack = attacks.pgd(linear_loss, attacks.l2(0.5), steps=1, step_size=0.1)
        with jax.debug_nans(False), self.assertRaisesRegex(ValueError, message):
            attack(keys(len(x)), jnp.zeros(x.shape[1:]), x, jnp.ones(len(x)))

    def test_bytes_are_refused_under_jit_too(self):
        attack = attacks.pgd(linear_loss, attacks.l2(0.5), steps=1, step_size=0.1)
        with self.assertRaisesRegex(ValueError, "got uint8"):
            jax.jit(attack)(
                keys(2),
                jnp.zeros((4, 4, 1)),
                jnp.zeros((2, 4, 4, 1), jnp.uint8),
                jnp.ones(2),
            )
