"""Sequences of attacks: the worst is kept, the broken dropped, nothing recompiled."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import attacks, devices, losses
from nrf.attacks import Component
from nrf.attacks.autoattack import likeliest, towards
from nrf.data import Dataset
from nrf.evaluate import Score, sequence
from nrf.models import Output
from nrf.types import is_traced


def apply(params, x):
    """Class 1 if the image is brighter than grey; the boundary is x.sum() = 2."""
    brightness = (x.sum((1, 2, 3)) - 2) * params
    return Output(jnp.stack([-brightness, brightness], 1), brightness[:, None])


def ladder(count=10):
    """Images of 4 equal pixels at l2 distances 0.05, 0.15, ... from the boundary."""
    distance = (np.arange(count) + 0.5) / count
    pixels = np.clip(0.5 + distance / 2, 0, 1).astype(np.float32)
    images = np.broadcast_to(pixels[:, None, None, None], (count, 2, 2, 1))
    return Dataset(images.copy(), np.ones(count, np.int32), ("dark", "bright"))


def linear(params, x):
    """Logits that are linear in the pixels."""
    features = x.reshape(len(x), -1)
    return Output(features @ params, features)


def keys(count):
    return attacks.example_keys(jax.random.key(7), jnp.arange(count))


def darker(share):
    """An attack that takes so much from every pixel of images above a brightness."""

    def attack_at(epsilon, turn):
        def attack(keys, params, x, y):
            return jnp.clip(x - share * epsilon, 0, 1)

        return attack

    return attack_at


class WorstCaseTest(parameterized.TestCase):
    def judge(self, params, x, y):
        return x[:, 0, 0, 0] - y

    def shift(self, by):
        return lambda keys, params, x, y: x + jnp.array(by).reshape(-1, 1, 1, 1)

    def test_the_first_to_break_is_kept_and_else_the_highest(self):
        x, y = jnp.full((4, 1, 1, 1), 0.5), jnp.full(4, 0.6)
        attack = attacks.worst_case(
            # Broken by the first; by the second; by none, second better; none, worse.
            [self.shift([0.2, 0.0, 0.01, -0.1]), self.shift([0.3, 0.2, 0.05, -0.2])],
            self.judge,
        )
        x_adv = attack(keys(4), None, x, y)[:, 0, 0, 0]
        np.testing.assert_allclose(x_adv, [0.7, 0.7, 0.55, 0.5], rtol=1e-6)

    def test_attacks_draw_different_numbers(self):
        def noise(keys, params, x, y):
            draw = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))
            return draw(keys)

        # Nothing is darker than x, and nothing breaks.
        x, y = jnp.zeros((50, 1, 1, 1)), jnp.full(50, 2.0)
        one = attacks.worst_case([noise], self.judge)(keys(50), None, x, y)
        two = attacks.worst_case([noise, noise], self.judge)(keys(50), None, x, y)
        self.assertTrue(bool((two >= one).all()))
        self.assertGreater(int((two > one).sum()), 10)


class TargetedTest(parameterized.TestCase):
    def test_likeliest_by_hand(self):
        logits = jnp.array([[5.0, 2.0, 1.0, 3.0], [0.0, 3.0, 3.0, 1.0]])
        y = jnp.array([0, 3])
        classes = np.stack([likeliest(logits, y, rank) for rank in range(3)], 1)
        np.testing.assert_array_equal(classes, [[3, 1, 2], [1, 2, 0]])

    def test_every_target_is_tried_and_the_worst_kept(self):
        def towards_target(keys, params, x, y):
            # Two pixels hold the logits of classes 1 and 2, class 0 is at 0.5.
            targets, _ = y
            step = jnp.where(targets == 1, 0.1, 0.3)
            own = jnp.arange(2)[None] == targets[:, None] - 1
            return x + jnp.where(own, step[:, None], 0)[:, :, None, None]

        def logits(params, x):
            z = x[:, :, 0, 0]
            z = jnp.concatenate([jnp.full_like(z[:, :1], 0.5), z], 1)
            return Output(z, z)

        x = jnp.array([[0.3, 0.25], [0.3, 0.15], [0.45, 0.0]])[:, :, None, None]
        y = jnp.zeros(3, jnp.int32)
        attack = attacks.targeted(logits, towards_target, targets=2)
        x_adv = jax.jit(attack)(keys(3), None, x, y)[:, :, 0, 0]
        expected = [[0.3, 0.55], [0.3, 0.45], [0.55, 0.0]]
        np.testing.assert_allclose(x_adv, expected, rtol=1e-6)

    @parameterized.parameters(0, 2)
    def test_a_rank_may_be_an_argument(self, rank):
        def mark(keys, params, x, y):
            return jnp.broadcast_to(y[0][:, None, None, None], x.shape) / 4

        params = jax.random.normal(jax.random.key(0), (4, 4))
        x, y = jax.random.uniform(jax.random.key(1), (5, 2, 2, 1)), jnp.arange(5) % 4
        at = jax.jit(lambda r: towards(linear, mark, r)(keys(5), params, x, y))
        expected = likeliest(linear(params, x).logits, y, rank) / 4
        np.testing.assert_allclose(at(jnp.int32(rank))[:, 0, 0, 0], expected)

    def test_refuses(self):
        def attack(keys, params, x, y):
            return x

        with self.assertRaisesRegex(ValueError, "targets must be at least 1, got 0"):
            attacks.targeted(apply, attack, targets=0)
        with self.assertRaisesRegex(ValueError, "the network has 2"):
            attacks.targeted(apply, attack, targets=2)(
                keys(3), 1.0, jnp.zeros((3, 2, 2, 1)), jnp.zeros(3, jnp.int32)
            )


class EotTest(parameterized.TestCase):
    def test_climbs_the_mean(self):
        # Half of all draws point up and half of them, more weakly, down.
        w = jnp.ones((2, 2, 1))

        def loss(keys, params, x, y):
            draw = jax.vmap(lambda key: jax.random.bernoulli(key))(keys)
            return jnp.where(draw, 1.0, -0.5) * jnp.einsum("hwc,bhwc->b", params, x)

        def pgd(loss):
            return attacks.pgd(loss, attacks.linf(0.1), steps=3, step_size=0.1)

        x = jnp.full((20, 2, 2, 1), 0.5)
        x_adv = attacks.eot(loss, pgd, samples=100)(keys(20), w, x, jnp.zeros(20))
        np.testing.assert_allclose(x_adv, x + 0.1, rtol=1e-5)
        one = attacks.eot(loss, pgd, samples=1)(keys(20), w, x, jnp.zeros(20))
        self.assertBetween(int((one < x).any((1, 2, 3)).sum()), 3, 17)

    def test_works_with_restarts_under_jit(self):
        def loss(keys, params, x, y):
            noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)
            return y * jnp.einsum("bhwc,bhwc->b", params[None] + 0.01 * noise, x)

        def apgd(loss):
            return attacks.apgd(
                loss, attacks.linf(0.1), steps=5, random_start=True, restarts=2
            )

        attack = jax.jit(attacks.eot(loss, apgd, samples=4))
        x, y = jnp.full((3, 2, 2, 1), 0.5), jnp.array([1.0, -1.0, 1.0])
        x_adv = attack(keys(3), jnp.ones((2, 2, 1)), x, y)
        expected = 0.5 + 0.1 * y[:, None, None, None] * jnp.ones_like(x)
        np.testing.assert_allclose(x_adv, expected, rtol=1e-5)

    def test_refuses(self):
        with self.assertRaisesRegex(ValueError, "samples must be at least 1, got 0"):
            attacks.eot(lambda keys, params, x, y: y, lambda loss: loss, samples=0)

    def test_transfer_attacks_the_source(self):
        loss = losses.cross_entropy(apply)
        attack = attacks.pgd(loss, attacks.l2(0.2), steps=3, step_size=0.1)
        data = ladder(4)
        # The source calls bright what the target calls dark.
        params = {"source": jnp.float32(-1), "target": jnp.float32(1)}
        moved = attacks.transfer(attack)(keys(4), params, data.images, data.labels)
        alone = attack(keys(4), params["source"], data.images, data.labels)
        np.testing.assert_array_equal(moved, alone)
        self.assertTrue(bool((moved.sum((1, 2, 3)) > data.images.sum((1, 2, 3))).all()))


class StandardTest(parameterized.TestCase):
    @parameterized.parameters((10, 9), (4, 3), (3, 2), (2, 1), (1000, 9))
    def test_names_and_rounds(self, num_classes, rounds):
        components = attacks.autoattack(linear, attacks.linf, num_classes)
        self.assertEqual(
            [(one.name, one.rounds) for one in components],
            [("apgd-ce", 1), ("apgd-t", rounds), ("fab-t", rounds), ("square", 1)],
        )

    def test_in_l1_as_published(self):
        components = attacks.autoattack(linear, attacks.l1, 10)
        self.assertEqual(
            [(one.name, one.rounds) for one in components],
            [("apgd-ce", 5), ("apgd-t", 5), ("fab-t", 9), ("square", 1)],
        )
        components = attacks.autoattack(linear, attacks.l1, 10, targets=3)
        self.assertEqual([one.rounds for one in components], [5, 3, 3, 1])

    @parameterized.product(case=[("linf", 5), ("l2", 3), ("l2", 2), ("l1", 4)])
    def test_each_component_breaks_linear_networks(self, case):
        norm, num_classes = case
        key_w, key_x = jax.random.split(jax.random.key(0))
        params = jax.random.normal(key_w, (16, num_classes))
        x = jax.random.uniform(key_x, (6, 4, 4, 1), minval=0.3, maxval=0.7)
        z = linear(params, x).logits
        y = z.argmax(-1).astype(jnp.int32)
        # The nearest boundary of a linear network: margins over dual norms.
        apart = params[:, y].T[:, None] - params.T[None]
        dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
        size = np.linalg.norm(apart, dual, axis=2)
        gap = np.take_along_axis(np.asarray(z), np.asarray(y)[:, None], 1) - z
        ratio = np.where(size > 0, gap / np.maximum(size, 1e-6), np.inf)
        distance = ratio.min(1)
        components = attacks.autoattack(
            linear, getattr(attacks, norm), num_classes, steps=20, queries=300
        )
        radius = 1.05 * distance.max()
        for component in components:
            broken = np.zeros(6, bool)
            run = jax.jit(
                lambda turn, one=component: one.attack_at(radius, turn)(
                    keys(6), params, x, y
                )
            )
            for turn in range(component.rounds):
                x_adv = run(jnp.int32(turn))
                broken |= np.asarray(linear(params, x_adv).logits.argmax(-1) != y)
                d = np.asarray(x_adv - x).reshape(6, -1)
                order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
                longest = np.linalg.norm(d, order, axis=1).max()
                self.assertLessEqual(longest, radius * (1 + 1e-5))
            if component.name != "square":
                self.assertTrue(broken.all(), component.name)
            else:
                self.assertTrue(broken.any(), component.name)

    @parameterized.parameters(
        (dict(num_classes=1), "num_classes must be at least 2, got 1"),
        (dict(targets=0), "targets must be at least 1, got 0"),
        (dict(steps=0), "steps must be at least 1, got 0"),
        (dict(queries=0), "queries must be at least 1, got 0"),
    )
    def test_refuses(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            attacks.autoattack(
                linear, attacks.linf, options.pop("num_classes", 10), **options
            )


class SuiteTest(parameterized.TestCase):
    def run_suite(self, programs, data=None, mesh=1, batch_size=4, **options):
        return sequence.run(
            jax.random.key(0),
            programs,
            jnp.float32(1),
            data or ladder(),
            batch_size=batch_size,
            mesh=devices.make_mesh(mesh),
            **{"epsilon": 0.4, **options},
        )

    def two(self):
        return sequence.make_programs(
            apply,
            # Half of epsilon and epsilon in l2, over four pixels.
            [Component("weak", darker(0.25)), Component("strong", darker(0.5))],
        )

    @parameterized.parameters((4, 1), (3, 1), (10, 1), (4, 4), (8, 4))
    def test_who_broke_what(self, batch_size, mesh):
        data = ladder()
        data.labels[2] = 0  # Wrong before any attack.
        programs = self.two()
        result = self.run_suite(programs, data, mesh, batch_size)
        # The distances are 0.05, 0.15, 0.25, ...; moved are 0.2 and then 0.4.
        expected = [1, 1, 0, 2, -1, -1, -1, -1, -1, -1]
        np.testing.assert_array_equal(result.broken_by, expected)
        moved = np.array([0.1, 0.1, 0, 0.2, 0, 0, 0, 0, 0, 0], np.float32)
        np.testing.assert_allclose(
            data.images - result.images,
            np.broadcast_to(moved[:, None, None, None], (10, 2, 2, 1)),
            atol=1e-6,
        )
        self.assertEqual(
            sequence.score(result, programs),
            {"clean": Score(9, 10), "weak": Score(7, 10), "strong": Score(6, 10)},
        )

    def test_broken_examples_are_dropped_and_the_rest_is_packed(self):
        heard = []
        self.run_suite(self.two(), tick=heard.append)
        # 10 at first, 10 before the weak one, 8 (0.05 and 0.15 broken) before the last;
        # in fours, and what is left one by one.
        self.assertEqual(heard, [4, 4, 1, 1, 4, 4, 1, 1, 4, 4])

    def test_what_one_round_breaks_the_next_does_not_see(self):
        # Moved in l2 are 0.24, 0.48 and 0.72 by rounds.
        def attack_at(epsilon, turn):
            return darker(0.25)(epsilon * jnp.float32(turn + 1), turn)

        *_, dark = sequence.make_programs(apply, [Component("dark", attack_at, 3)])
        heard = []
        result = sequence.attack(
            jax.random.key(0),
            dark,
            jnp.float32(1),
            ladder(),
            left=np.arange(10)[::-1],
            epsilon=0.48,
            batch_size=4,
            mesh=devices.make_mesh(1),
            tick=heard.append,
        )
        # Of distances 0.05, 0.15, ..., backwards.
        np.testing.assert_array_equal(result.indices, [1, 0, 4, 3, 2, 6, 5])
        # Each round counts all examples, those that it leaves out first.
        self.assertEqual(heard, [4, 4, 1, 1, 2, 4, 4, 5, 4, 1])
        moved = ladder().images[result.indices] - result.images
        np.testing.assert_allclose(
            2 * moved[:, 0, 0, 0], [0.24] * 2 + [0.48] * 3 + [0.72] * 2, atol=1e-6
        )

    def test_nothing_is_left_to_do(self):
        data = ladder()._replace(labels=np.zeros(10, np.int32))
        result = self.run_suite(self.two(), data)
        np.testing.assert_array_equal(result.broken_by, np.zeros(10))

    def test_compiled_twice_for_all_rounds_radii_and_sizes(self):
        traces = []

        def attack_at(epsilon, turn):
            if is_traced(epsilon):  # And not to see whether the radius is right.
                traces.append(turn)
            return darker(0.25)(epsilon * jnp.float32(turn + 1), turn)

        programs = sequence.make_programs(apply, [Component("dark", attack_at, 3)])
        # Moved in l2 are 0.24, 0.48 and 0.72 by rounds.
        one = self.run_suite(programs, epsilon=0.48)
        self.assertEqual(int((one.broken_by < 0).sum()), 3)
        # The distances are 0.07, 0.21, ..., and moved are at last 0.15.
        two = self.run_suite(programs, ladder(7), epsilon=0.1)
        self.assertEqual(int((two.broken_by < 0).sum()), 6)
        self.assertLen(traces, 2)

    def test_results_do_not_depend_on_packing_and_devices(self):
        def noise(epsilon, turn):
            def attack(keys, params, x, y):
                draw = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))
                return jnp.clip(x - 2 * epsilon * draw(keys), 0, 1)

            return attack

        programs = sequence.make_programs(apply, [Component("noise", noise, 4)])
        results = [
            self.run_suite(programs, mesh=mesh, batch_size=size, epsilon=0.4)
            for mesh, size in ((1, 4), (1, 7), (4, 8))
        ]
        self.assertBetween(int((results[0].broken_by == 1).sum()), 3, 9)
        # Rounds draw different numbers: four of them break more than one.
        once = sequence.make_programs(apply, [Component("noise", noise, 1)])
        broken = [
            int((result.broken_by == 1).sum())
            for result in (self.run_suite(once), results[0])
        ]
        self.assertLess(*broken)
        for other in results[1:]:
            np.testing.assert_array_equal(results[0].broken_by, other.broken_by)
            np.testing.assert_allclose(results[0].images, other.images, atol=1e-6)

    def test_the_standard_suite_finds_the_known_boundary(self):
        components = attacks.autoattack(apply, attacks.l2, 2, steps=10, queries=20)
        programs = sequence.make_programs(apply, components)
        for epsilon, left in ((0.2, 8), (0.5, 5)):
            data = ladder()
            result = self.run_suite(programs, data, epsilon=epsilon)
            np.testing.assert_array_equal(
                result.broken_by >= 0, np.arange(10) < 10 - left
            )
            d = (result.images - data.images).reshape(10, -1)
            norms = np.linalg.norm(d, axis=1)
            self.assertLessEqual(norms.max(), epsilon * (1 + 1e-5))
            self.assertEqual(int((norms == 0).sum()), left)

    def test_refuses(self):
        with self.assertRaisesRegex(ValueError, "different names, got clean, a, a"):
            sequence.make_programs(apply, [Component("a", darker(1.0))] * 2)
        programs = sequence.make_programs(
            apply, attacks.autoattack(apply, attacks.linf, 2, steps=2, queries=2)
        )
        with self.assertRaisesRegex(ValueError, "got 8; .* write k / 255"):
            self.run_suite(programs, epsilon=8)
        wrong = ladder()._replace(labels=np.full(10, 2, np.int32))
        with self.assertRaisesRegex(ValueError, "labels must be in 0 .. 1"):
            self.run_suite(programs, wrong)
