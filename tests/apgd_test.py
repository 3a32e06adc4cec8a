"""Auto-PGD against closed forms, its published algorithm, and its promises."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nrf import attacks, losses, models
from nrf.attacks.apgd import _Halving, _Point, _Sparsity, checkpoints

SHAPE = (6, 5, 4, 3)
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}


def linear_loss(w, x, y):
    """Every threat's worst case is known: straight along y * w."""
    return y * jnp.einsum("hwc,bhwc->b", w, x)


def worst_gain(norm, epsilon, slope, x):
    """The largest gain of a linear loss in the ball and in the box, one image [D]."""
    size, room = np.abs(slope), np.where(slope > 0, 1 - x, x)
    if norm == "linf":
        return np.sum(size * np.minimum(room, epsilon))
    if norm == "l1":
        order = np.argsort(-size)
        before = np.cumsum(room[order]) - room[order]
        return np.sum(size[order] * np.clip(epsilon - before, 0, room[order]))
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        long = np.linalg.norm(np.minimum(room, middle * size)) > epsilon
        low, high = (low, middle) if long else (middle, high)
    return np.sum(size * np.minimum(room, low * size))


def keys(count):
    return attacks.example_keys(jax.random.key(7), jnp.arange(count))


def small_network():
    model = models.Small((0.5,), (0.25,), widths=(4, 6)).build(3)
    x = jax.random.uniform(jax.random.key(0), (8, 8, 8, 1))
    y = jnp.arange(8, dtype=jnp.int32) % 3
    return model, model.init(jax.random.key(1), x), x, y


def published(loss, params, x, y, norm, epsilon, steps, start=None):
    """Algorithm 1 as it is printed, for one image at a time, without JAX's loops."""
    values = jax.jit(jax.value_and_grad(lambda x: loss(params, x[None], y[None])[0]))

    def project(z):
        d = z - x
        if norm == "linf":
            d = np.clip(d, -epsilon, epsilon)
        else:
            d = d * min(1, epsilon / max(np.linalg.norm(d), 1e-12))
        return np.clip(x + d, 0, 1).astype(np.float32)

    def steepest(slope):
        if norm == "linf":
            return np.sign(slope)
        return slope / max(np.linalg.norm(slope), 1e-12)

    step_size, w = 2 * epsilon, (0, *checkpoints(steps))
    here = x if start is None else project(start)
    f, slope = map(np.asarray, values(here))
    best = (f, here, slope)
    f_here, slope_here, before = f, slope, here
    climbed, best_then, changed = [], -np.inf, True
    for k in range(steps):
        z = project(here + step_size * steepest(slope_here))
        alpha = 1 if k == 0 else 0.75
        to = project(here + alpha * (z - here) + (1 - alpha) * (here - before))
        f, slope = map(np.asarray, values(to))
        climbed.append(f > f_here)
        before, here, f_here, slope_here = here, to, f, slope
        if f > best[0]:
            best = (f, to, slope)
        if k + 1 in w:
            since = k + 1 - w[w.index(k + 1) - 1]
            few = sum(climbed[-since:]) < 0.75 * since
            same = not changed and best_then == best[0]
            changed, best_then = few or same, best[0]
            if changed:
                step_size /= 2
                f_here, here, slope_here = best
    return best[1]


class AlgorithmTest(parameterized.TestCase):
    def test_checkpoints(self):
        # p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99.
        self.assertEqual(checkpoints(100), (22, 41, 57, 70, 80, 87, 93, 99))
        self.assertEqual(checkpoints(10), (3, 5, 6, 7, 8, 9, 10))
        self.assertEqual(checkpoints(1), (1,))
        self.assertEqual(checkpoints(1000)[:3], (220, 410, 570))

    def test_steps_are_halved_by_either_condition(self):
        # At a checkpoint after 4 steps: enough rises and a better image; too few rises;
        # nothing better; nothing better, but halved the last time; too few, halved.
        best = jnp.array([2.0, 2.0, 1.0, 1.0, 1.0])
        state = _Halving(
            step_size=jnp.full(5, 0.4),
            rises=jnp.array([2.0, 1.0, 3.0, 3.0, 1.0]),
            best=jnp.ones(5),
            halved=jnp.array([True, False, False, True, True]),
        )
        image = jnp.zeros((5, 1, 1, 1))
        point, rose = _Point(image, image, best), jnp.array([True] + [False] * 4)
        threat = attacks.linf(0.2)
        back, after = state.update(threat, image, rose, point, np.float32(4))
        expected = [False, True, True, False, True]
        np.testing.assert_array_equal(back, expected)
        np.testing.assert_array_equal(after.halved, expected)
        np.testing.assert_allclose(after.step_size, [0.4, 0.2, 0.2, 0.4, 0.2])
        np.testing.assert_array_equal(after.rises, np.zeros(5))
        np.testing.assert_array_equal(after.best, best)
        # Between checkpoints only the rises change.
        back, after = state.update(threat, image, rose, point, np.float32(0))
        self.assertFalse(bool(back.any()))
        np.testing.assert_array_equal(
            after.rises, state.rises + rose.astype(jnp.float32)
        )
        np.testing.assert_array_equal(after.step_size, state.step_size)
        np.testing.assert_array_equal(after.best, state.best)

    def test_steps_in_l1_follow_the_sparsity(self):
        self.assertEqual(_Sparsity.checkpoints(100)[:3], (4, 8, 12))
        self.assertEqual(_Sparsity.checkpoints(3), (1, 2, 3))
        # Of 6 pixels that were changed, now 3, 6 and 6; the last has short steps.
        x = jnp.zeros((3, 3, 4, 1))
        moved = (
            jnp.arange(12).reshape(1, 3, 4, 1)
            < jnp.array([3, 6, 6])[:, None, None, None]
        )
        point = _Point(moved.astype(jnp.float32), x, jnp.zeros(3))
        state = _Sparsity(
            jnp.array([0.5, 0.6, 0.11]), jnp.full(3, 5.0), jnp.full(3, 6.0)
        )
        first = _Sparsity.init(attacks.l1(1.0), x, None)
        np.testing.assert_allclose(first.moved, np.full(3, 0.2 * 12), rtol=1e-6)
        np.testing.assert_array_equal(first.active, [12, 12, 12])
        # From an image that another walk has left, as many as it moved.
        first = _Sparsity.init(attacks.l1(1.0), x, point.x)
        np.testing.assert_allclose(first.moved, [2, 4, 4], rtol=1e-6)
        np.testing.assert_array_equal(first.active, [3, 6, 6])
        back, after = state.update(attacks.l1(1.0), x, None, point, np.float32(4))
        np.testing.assert_array_equal(back, [True, False, False])
        np.testing.assert_allclose(after.step_size, [1.0, 0.4, 0.1], rtol=1e-6)
        np.testing.assert_allclose(after.moved, [2, 4, 4], rtol=1e-6)
        np.testing.assert_array_equal(after.active, [3, 6, 6])

    @parameterized.parameters(("linf", 0.2), ("l2", 1.5))
    def test_is_the_published_algorithm(self, norm, epsilon):
        model, params, x, y = small_network()
        loss = losses.cross_entropy(model.apply)
        attack = attacks.apgd(loss, getattr(attacks, norm)(epsilon), steps=25)
        ours = jax.jit(attack)(keys(8), params, x, y)
        theirs = [
            published(loss, params, np.asarray(x[i]), y[i], norm, epsilon, 25)
            for i in range(8)
        ]
        np.testing.assert_allclose(ours, np.stack(theirs), atol=1e-4)

    @parameterized.parameters(("linf", 0.1), ("l2", 0.7))
    def test_wider_balls_are_searched_one_after_the_other(self, norm, epsilon):
        model, params, x, y = small_network()
        loss, threat = losses.cross_entropy(model.apply), getattr(attacks, norm)
        wider = [threat(3 * epsilon), threat(2 * epsilon)]
        attack = attacks.apgd(loss, threat(epsilon), steps=25, wider=wider)
        ours = jax.jit(attack)(keys(8), params, x, y)
        theirs = []
        for i in range(8):
            image = None
            # Three tenths of the steps, rounded up, and the rest.
            for times, steps in ((3, 8), (2, 8), (1, 9)):
                of = loss, params, np.asarray(x[i]), y[i], norm
                image = published(*of, times * epsilon, steps, image)
            theirs.append(image)
        np.testing.assert_allclose(ours, np.stack(theirs), atol=1e-4)

    def test_wider_balls_in_l1_end_in_the_ball(self):
        model, params, x, y = small_network()
        loss = losses.cross_entropy(model.apply)
        values = []
        for wider in ((), (attacks.l1(6.0), attacks.l1(4.0))):
            attack = attacks.apgd(loss, attacks.l1(2.0), steps=60, wider=wider)
            x_adv = jax.jit(attack)(keys(8), params, x, y)
            size = np.abs(np.asarray(x_adv - x)).sum((1, 2, 3))
            self.assertLessEqual(size.max(), 2.0 + 1e-5)
            self.assertGreater(size.min(), 1.9)
            values.append(float(loss(params, x_adv, y).mean()))
        self.assertGreaterEqual(values[1], values[0] - 0.01)


class LinearTest(chex.TestCase, parameterized.TestCase):
    """On a linear loss, where the worst case has a closed form."""

    def setUp(self):
        super().setUp()
        key_w, key_x = jax.random.split(jax.random.key(0))
        self.w = jax.random.normal(key_w, SHAPE[1:])
        self.x = jax.random.uniform(key_x, SHAPE)
        self.y = jnp.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])

    @parameterized.product(
        # In l2, clipping after the projection is near the worst case, not at it; in l1
        # the last steps, of epsilon / 10, still move the last pixels to and fro.
        case=[("linf", 0.1, 1e-5), ("l2", 0.4, 5e-3), ("l1", 3.0, 2e-2)],
        random_start=[True, False],
        inner=[True, False],
    )
    def test_reaches_the_worst_case(self, case, random_start, inner):
        norm, epsilon, tolerance = case
        # Pixels at 0 and 1 among others, or all far enough from them.
        x = 0.5 + 0.02 * (self.x - 0.5) if inner else self.x
        attack = attacks.apgd(
            linear_loss,
            getattr(attacks, norm)(epsilon),
            steps=100,
            random_start=random_start,
        )
        x_adv = jax.jit(attack)(keys(6), self.w, x, self.y)
        gain = linear_loss(self.w, x_adv, self.y) - linear_loss(self.w, x, self.y)
        slopes = np.einsum("b,hwc->bhwc", self.y, self.w).reshape(6, -1)
        pixels = np.asarray(x).reshape(6, -1)
        best = [
            worst_gain(norm, epsilon, *pair)
            for pair in zip(slopes, pixels, strict=True)
        ]
        np.testing.assert_array_less(gain, np.array(best) * (1 + 1e-5))
        np.testing.assert_array_less(np.array(best) * (1 - tolerance), gain)

    def test_zero_gradient_moves_nothing(self):
        for norm in ORDERS:
            attack = attacks.apgd(linear_loss, getattr(attacks, norm)(0.1), steps=9)
            x_adv = attack(keys(6), jnp.zeros_like(self.w), self.x, self.y)
            np.testing.assert_array_equal(x_adv, self.x)

    @chex.variants(with_jit=True, without_jit=True)
    def test_with_and_without_jit(self):
        attack = attacks.apgd(linear_loss, attacks.linf(0.1), steps=6)
        x_adv = self.variant(attack)(keys(6), self.w, self.x, self.y)
        step = 0.1 * jnp.sign(self.y)[:, None, None, None] * jnp.sign(self.w)[None]
        np.testing.assert_allclose(x_adv, jnp.clip(self.x + step, 0, 1), atol=1e-6)


class PromisesTest(parameterized.TestCase):
    """On a small network: allowed sets, never weaker, independent examples."""

    def setUp(self):
        super().setUp()
        self.model, self.params, self.x, self.y = small_network()
        self.loss = losses.cross_entropy(self.model.apply)

    def run_attack(self, threat, rows=None, loss=None, **options):
        attack = attacks.apgd(loss or self.loss, threat, **{"steps": 12, **options})
        rows = np.arange(len(self.x)) if rows is None else rows
        return jax.jit(attack)(
            keys(len(self.x))[rows], self.params, self.x[rows], self.y[rows]
        )

    def value(self, x):
        return np.asarray(self.loss(self.params, x, self.y))

    @parameterized.parameters(("linf", 0.1), ("l2", 0.7), ("l1", 4.0))
    def test_stays_in_the_ball_and_in_the_box(self, norm, epsilon):
        for random_start in (True, False):
            x_adv = self.run_attack(
                getattr(attacks, norm)(epsilon), random_start=random_start
            )
            d = np.asarray(x_adv - self.x).reshape(8, -1)
            norms = np.linalg.norm(d, ORDERS[norm], axis=1)
            self.assertLessEqual(norms.max(), epsilon * (1 + 1e-5))
            self.assertGreater(norms.min(), epsilon / 2)
            self.assertBetween(float(x_adv.min()), 0, 1)
            self.assertBetween(float(x_adv.max()), 0, 1)

    def test_is_stronger_than_pgd_of_a_bad_step_size(self):
        pgd = attacks.pgd(self.loss, attacks.l2(1.5), steps=12, step_size=1.5)
        x_pgd = pgd(keys(8), self.params, self.x, self.y)
        x_apgd = self.run_attack(attacks.l2(1.5))
        self.assertGreater(self.value(x_apgd).mean(), self.value(x_pgd).mean())
        self.assertTrue((self.value(x_apgd) >= self.value(self.x)).all())

    @parameterized.parameters(1, 12)
    def test_never_below_the_start(self, steps):
        # So large that the first steps lead anywhere.
        x_adv = self.run_attack(attacks.l2(8.0), steps=steps)
        self.assertTrue((self.value(x_adv) >= self.value(self.x) - 1e-6).all())

    def test_more_steps_are_stronger_on_average(self):
        few, many = (
            self.value(self.run_attack(attacks.linf(0.2), steps=steps)).mean()
            for steps in (2, 30)
        )
        self.assertGreater(many, few)

    def test_more_restarts_are_never_weaker_and_worst_per_example(self):
        values = [
            self.value(
                self.run_attack(
                    attacks.l2(0.5), random_start=True, restarts=count, steps=2
                )
            )
            for count in (1, 2, 5)
        ]
        # Batches of 8, 16 and 40 images round differently.
        self.assertTrue((values[1] >= values[0] - 1e-5).all())
        self.assertTrue((values[2] >= values[1] - 1e-5).all())
        self.assertGreater((values[2] - values[0]).max(), 1e-5)

    def test_the_judge_chooses_among_the_visited_images(self):
        def judged(params, x, y):
            same = jnp.all(x == self.x, (1, 2, 3))
            return self.loss(params, x, y), jnp.where(same, 1.0, -1.0)

        x_adv = self.run_attack(attacks.l2(0.7), loss=judged)
        # Without a random start x is visited, and the walk goes up from it.
        np.testing.assert_array_equal(x_adv, self.x)

    def test_a_wrong_image_is_returned_if_one_was_visited(self):
        # Climbs away from wrong images: the highest value is where the network is
        # right, and the start, at which it is wrong, is the only wrong one.
        y = jnp.argmax(self.model.apply(self.params, self.x).logits, -1)
        self.y = (y + 1).astype(jnp.int32) % 3
        margin = losses.margin(self.model.apply)
        away = losses.negate(losses.cross_entropy(self.model.apply))
        alone = self.run_attack(attacks.l2(8.0), loss=away)
        judged = self.run_attack(
            attacks.l2(8.0),
            loss=losses.judged(
                self.model.apply,
                lambda apply: losses.negate(losses.cross_entropy(apply)),
                losses.margin,
            ),
        )
        self.assertLess(float(margin(self.params, alone, self.y).min()), 0)
        self.assertGreater(float(margin(self.params, judged, self.y).min()), 0)

    @parameterized.parameters("l2", "l1")
    def test_an_example_does_not_depend_on_its_batch(self, norm):
        threat = getattr(attacks, norm)(0.7)
        whole = self.run_attack(threat, random_start=True)
        rows = np.array([5, 2])
        part = self.run_attack(threat, random_start=True, rows=rows)
        np.testing.assert_allclose(part, whole[rows], atol=1e-5)

    def test_one_device_and_four_agree(self):
        attack = attacks.apgd(
            self.loss, attacks.l2(0.7), steps=6, random_start=True, restarts=2
        )
        one = jax.jit(attack)(keys(8), self.params, self.x, self.y)
        mesh = Mesh(np.asarray(jax.devices()), ("data",))
        split = NamedSharding(mesh, PartitionSpec("data"))
        arguments = jax.device_put((keys(8), self.x, self.y), split)
        params = jax.device_put(self.params, NamedSharding(mesh, PartitionSpec()))
        four = jax.jit(attack)(arguments[0], params, *arguments[1:])
        self.assertLen(four.sharding.device_set, 4)
        np.testing.assert_allclose(four, one, atol=1e-5)

    def test_the_loss_is_traced_once_for_all_steps(self):
        self.addCleanup(chex.clear_trace_counter)  # It counts by the name of `loss`.
        traced = chex.assert_max_traces(lambda *given: self.loss(*given), n=1)
        attack = attacks.apgd(traced, attacks.l2(0.5), steps=30)
        jax.jit(attack)(keys(8), self.params, self.x, self.y)

    @parameterized.parameters("linf", "l2", "l1")
    def test_a_radius_may_be_an_argument(self, norm):
        threat = getattr(attacks, norm)

        @jax.jit
        def at(epsilon):
            attack = attacks.apgd(self.loss, threat(epsilon), steps=5)
            return attack(keys(8), self.params, self.x, self.y)

        for epsilon in (0.1, 0.4):
            fixed = self.run_attack(threat(epsilon), steps=5)
            np.testing.assert_allclose(at(jnp.float32(epsilon)), fixed, atol=1e-5)

    @parameterized.named_parameters(
        ("no_steps", attacks.l2(1.0), dict(steps=0), "steps must be at least 1, got 0"),
        ("no_restarts", attacks.l2(1.0), dict(restarts=0), "restarts must be at least"),
        ("equal_restarts", attacks.l2(1.0), dict(restarts=2), "repeat one run"),
        ("no_ball", attacks.free(), {}, "use linf, l2 or l1"),
        ("other_norm", attacks.l2(1.0), dict(wider=[attacks.l1(2.0)]), "the norm l2"),
        (
            "no_steps_left",
            attacks.l1(1.0),
            dict(wider=[attacks.l1(3.0), attacks.l1(2.0)], steps=2),
            "2 steps are too few for 2 wider balls",
        ),
    )
    def test_refuses(self, threat, options, message):
        with self.assertRaisesRegex(ValueError, message):
            attacks.apgd(self.loss, threat, **{"steps": 5, **options})
