"""Evidence against closed forms, planted failures, and networks that are honest."""

import functools
import json
import re

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import parameterized
from jax.experimental import io_callback

from nrf import attacks, data, devices, evaluate, losses, models, train
from nrf.config import Evaluation
from nrf.data import Dataset
from nrf.evaluate import BELIEVABLE, Evidence
from nrf.evaluate import checks as observations
from nrf.experiments import build, climbs
from nrf.models import Output, Small

KEY = jax.random.key(0)
STEPS = 20
EPSILON = 0.5


def pgd_at(apply, threat_at=attacks.l2, *, steps=STEPS, crossings=2.5, **options):
    loss = losses.cross_entropy(apply)

    def at(epsilon):
        step_size = epsilon * crossings / steps
        threat = threat_at(epsilon)
        return attacks.pgd(loss, threat, steps=steps, step_size=step_size, **options)

    return at


def gather(*arguments, **options):
    return gathered(*arguments, **options).evidence


def gathered(checks, params, dataset, *, batch_size=50, mesh=1, **options):
    return evaluate.gather(
        jax.random.clone(KEY),
        checks,
        params,
        dataset,
        batch_size=batch_size,
        mesh=devices.make_mesh(mesh),
        **{"epsilon": EPSILON, "thorough": True, **options},
    )


def bright(params, x):
    """Class 1 if the image is brighter than grey; the boundary is x.sum() = 2."""
    brightness = (x.sum((1, 2, 3)) - 2) * params
    return Output(jnp.stack([-brightness, brightness], 1), brightness[:, None])


def ladder():
    """16 images of 4 pixels, at l2 distances ±0.025, ±0.075, .. ±0.375 from it.

    In linf it is half, and in l1 twice as far. A pattern keeps them away from grey.
    """
    distance = np.repeat((np.arange(8) + 0.5) / 20, 2)
    labels = np.arange(16, dtype=np.int32) % 2
    pixels = 0.5 + (labels - 0.5) * distance
    pattern = 0.25 * np.array([1, -1, -1, 1]).reshape(1, 2, 2, 1)
    images = pixels[:, None, None, None] + pattern
    return Dataset(images.astype(np.float32), labels, ("dark", "bright"))


@functools.cache
def digits():
    """Training set, and 200 test images."""
    training, test = data.load("digits")
    return training, test._replace(images=test.images[:200], labels=test.labels[:200])


@functools.cache
def trained(name, adversarial=False):
    """A model and its parameters after a few epochs."""
    network = {"mlp": models.MLP, "small": models.Small}[name]
    model = network((0.3,), (0.38,), widths=(16,)).build(10)
    training, _ = digits()
    optimizer = optax.sgd(0.1, momentum=0.9)
    attack = pgd_at(model.apply, steps=5)(0.7) if adversarial else None
    state = train.init(jax.random.key(1), model, optimizer, training.images[:1])
    *_, (state, _) = train.epochs(
        jax.random.key(2),
        state,
        train.make_update(train.make_step(model, optimizer, attack=attack)),
        training,
        count=12,
        batch_size=64,
        mesh=devices.make_mesh(1),
    )
    return model, state.params


def random_points_at(apply, threat_at=attacks.l2, count=20):
    """The worst of some random points: an attack without gradients."""
    margin = losses.margin(apply)

    def at(epsilon):
        threat = threat_at(epsilon)

        def attack(keys, params, x, y):
            def draw(r, best):
                drawn = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, r)
                point = jnp.clip(x + threat.sample(drawn, x), 0, 1)
                return helpers.higher(best, point, margin(params, point, y))

            start = x, margin(params, x, y)
            return jax.lax.fori_loop(0, count, draw, start)[0]

        return attack

    return at


def all_checks(apply, attack_at=None, *, crossings=2.5, **options):
    """With more steps and random points, unless others are given."""
    options = {
        "more_steps": pgd_at(apply, steps=2 * STEPS),
        "other": random_points_at(apply),
        "attack_on": pgd_at,
        **options,
    }
    if not options["attack_on"]:
        attack_at = attack_at or pgd_at(apply)
    loss = losses.cross_entropy(apply)
    return evaluate.make_checks(
        apply, loss, attacks.l2, attack_at, crossings=crossings, **options
    )


@functools.cache
def honest_checks(name):
    return all_checks(trained(name)[0].apply)


def names(found):
    return {finding.name for finding in found.findings}


def changed(model, *, logits=lambda z: z, images=lambda x: x):
    """The model's `apply` with something done to its logits or images."""

    def apply(params, x):
        output = model.apply(params, images(x))
        return output._replace(logits=logits(output.logits))

    return apply


@functools.cache
def plain_checks():
    return evaluate.make_checks(
        bright, losses.cross_entropy(bright), attacks.l2, pgd_at(bright)
    )


class ProgramsTest(parameterized.TestCase):
    @parameterized.parameters((1, 16, 7), (4, 4, 4))
    def test_few_serve_all_radii(self, mesh, batch_size, count):
        """The attack, Square, logits and gradients; for the active test no other.

        Where all examples are one batch, all but Square are of a smaller batch too.
        """
        net = build.model(Small((0.3,), (0.38,), widths=(3, 5)), 4)
        x = np.random.default_rng(0).random((12, 4, 4, 1), np.float32)
        params = net.init(jax.random.key(0), x[:1])
        y = np.asarray(net.apply(params, x).logits.argmax(-1), np.int32)
        evaluation = Evaluation("l2", (0.1, 0.5), steps=2, queries=2)
        checks = climbs.checks(net, evaluation)
        with jax.log_compiles(), self.assertLogs("jax", "WARNING") as logs:
            for epsilon in evaluation.epsilons:
                options = {"epsilon": epsilon, "batch_size": batch_size, "mesh": mesh}
                gather(checks, params, Dataset(x, y, tuple("abcd")), **options)
        words = " ".join(logs.output)
        names = re.findall(r"Compiling (?:jit\()?(attack|logits|look)\b", words)
        self.assertLen(names, count, names)
        self.assertEqual(set(names), {"attack", "logits", "look"})


class LinearTest(parameterized.TestCase):
    """Every number is known where the boundary is a plane."""

    @staticmethod
    @functools.cache
    def checks(norm, extra):
        threat_at = getattr(attacks, norm)
        more_steps = pgd_at(bright, threat_at, steps=2 * STEPS)
        return evaluate.make_checks(
            bright,
            losses.cross_entropy(bright),
            threat_at,
            pgd_at(bright, threat_at, random_start=True),
            crossings=2.5,
            more_steps=more_steps if extra else None,
            other=random_points_at(bright, threat_at) if extra else None,
        )

    def gather(self, norm, *, batch_size=4, mesh=1, extra=True):
        epsilon = {"linf": 0.045, "l2": 0.09, "l1": 0.18}[norm]
        found = gather(
            self.checks(norm, extra),
            jnp.float32(1),
            ladder(),
            batch_size=batch_size,
            mesh=mesh,
            epsilon=epsilon,
        )
        return found, epsilon

    @parameterized.parameters(
        ("linf", 0.5, 4.5e-7 + 1.2e-7), ("l2", 1.0, 1.14e-6), ("l1", 2.0, 2.3e-6)
    )
    def test_numbers_are_the_closed_forms(self, norm, large, rounding):
        found, epsilon = self.gather(norm)
        self.assertAlmostEqual(found.largest, epsilon, delta=rounding)
        self.assertAlmostEqual(found.rounding, rounding, delta=0.05 * rounding)
        self.assertAlmostEqual(found.large_epsilon, large)
        expected = Evidence(
            norm=norm,
            epsilon=epsilon,
            total=16,
            correct=16,
            withstood=12,  # All but ±0.025 and ±0.075, in l2.
            chance=0.5,
            commonest=0.5,
            largest=found.largest,
            rounding=found.rounding,
            outside=0.0,
            bad_logits=0,
            bad_images=0,
            bad_gradients=0,
            probabilities=0,
            zero=0,
            vanishing=0,
            missed=0,
            varied=0,
            mixed=0,
            grey=0,
            others=1 / 64,  # Only -0.025 and 0.025 are in reach of each other.
            crossings=2.5,
            large_epsilon=found.large_epsilon,
            large_withstood=0,
            lost_to_more_steps=0,
            lost_to_other=0,
            behind=0,
            lowered=0,
            aimless=0,
            erratic=0,
            detected=0,
            shattered=0,
            reversed=0,
            replaced=0,
            astray=0,
            # Of an error of ½ grey level, or ±½ at random, in each of 4 pixels.
            grain={"linf": 1 / 2, "l2": 3**-0.5, "l1": 1}[norm] / 255,
        )
        self.assertEqual(found._replace(grain=expected.grain), expected)
        self.assertAlmostEqual(found.grain, expected.grain, places=9)
        self.assertEqual(found.verdict, BELIEVABLE)
        self.assertEqual(
            found.remarks,
            (
                "Not checked: whether the attack finds what is planted (an active "
                "test).",
            ),
        )

    @parameterized.parameters((3, 1), (16, 1), (50, 1), (4, 4), (16, 4))
    def test_no_number_depends_on_batches_or_devices(self, batch_size, mesh):
        expected, _ = self.gather("l2", extra=False)
        found, _ = self.gather("l2", batch_size=batch_size, mesh=mesh, extra=False)
        self.assertAlmostEqual(found.largest, expected.largest, delta=1e-6)
        self.assertEqual(found._replace(largest=expected.largest), expected)

    def test_a_ball_around_grey_holds_grey(self):
        data = ladder()
        data = data._replace(images=data.images.mean((1, 2, 3), keepdims=True))
        images = np.broadcast_to(data.images, (16, 2, 2, 1)).copy()
        checks = plain_checks()
        found = gather(
            checks,
            jnp.float32(1),
            data._replace(images=images),
            epsilon=0.1,
            thorough=False,
        )
        self.assertEqual(found.grey, 4)
        self.assertEqual(names(found), {"huge epsilon"})
        self.assertEqual(
            found.remarks,
            (
                "Not checked: whether the steps can cross the ball, a very large "
                "epsilon, more steps, another attack, whether the attack finds what is "
                "planted (an active test).",
            ),
        )

    def test_gradients_vanish_where_the_label_leads_by_17(self):
        checks = plain_checks()
        distance = np.repeat((np.arange(8) + 0.5) / 20, 2)
        # The label leads by four times the distance, times the parameter.
        found = gather(checks, jnp.float32(100 / 4), ladder(), epsilon=0.01)
        self.assertEqual(found.vanishing, np.sum(100 * distance > 17))
        self.assertEqual(found.zero, 0)
        # Nothing is in reach, so that nothing was missed.
        self.assertEqual((found.withstood, found.missed), (16, 0))
        self.assertEqual(found.verdict, BELIEVABLE)

        found = gather(checks, jnp.float32(1000 / 4), ladder(), epsilon=0.3)
        self.assertEqual(found.vanishing, 16)
        self.assertEqual(found.zero, np.sum(1000 * distance > 104))
        # The nearest are fooled yet; all others withstand, of which these are in reach.
        self.assertEqual(found.withstood, 16 - np.sum(1000 * distance < 104))
        self.assertEqual(found.missed, np.sum((distance > 0.104) & (distance < 0.3)))
        self.assertIn("vanishing gradient", names(found))

    def test_logits_too_small_for_steps(self):
        checks = plain_checks()
        # Attacks need no length of a gradient, and neither do their checks.
        usual = gather(checks, jnp.float32(1), ladder(), epsilon=0.09)
        for scale in (1e-14, 1e-30):
            found = gather(checks, jnp.float32(scale), ladder(), epsilon=0.09)
            self.assertEqual((found.zero, found.vanishing, found.missed), (0, 0, 0))
            self.assertEqual(found.withstood, usual.withstood)

    def test_what_an_attack_mends_was_wrong(self):
        def mend(epsilon):
            loss = losses.negate(losses.cross_entropy(bright))
            return attacks.pgd(loss, attacks.l2(epsilon), steps=5, step_size=0.2)

        wrong = ladder()._replace(labels=1 - ladder().labels)
        checks = evaluate.make_checks(
            bright, losses.cross_entropy(bright), attacks.l2, mend
        )
        found = gather(checks, jnp.float32(1), wrong, epsilon=0.9)
        self.assertEqual((found.correct, found.withstood), (0, 0))


class MadeTest(parameterized.TestCase):
    """Images that some attack made before, and what is known of them."""

    def gather(self, made, **options):
        checks = evaluate.make_checks(
            bright,
            losses.cross_entropy(bright),
            attacks.l2,
            pgd_at(bright),
            crossings=2.5,
        )
        options = {"epsilon": 0.09, "batch_size": 5, **options}
        return gather(checks, jnp.float32(1), ladder(), made=made, **options)

    def test_they_are_judged_instead_of_the_attack(self):
        images = ladder().images
        # Half of those at ±0.025 are moved over the boundary, by 0.03 in l2.
        made = np.array(images)
        made[1] -= 0.015
        found = self.gather(made, thorough=False)
        self.assertEqual((found.correct, found.withstood), (16, 15))
        self.assertAlmostEqual(found.largest, 0.03, places=6)
        self.assertIsNone(found.crossings)
        # A third of the ball is all that they use, and a step of its length fools more.
        self.assertEqual(names(found), {"short steps"})
        # A ball of another radius, and a pixel out of the box.
        self.assertEqual(
            names(self.gather(made, thorough=False, epsilon=0.029)),
            {"outside the ball", "beaten by a single step"},
        )
        made[3, 0, 0, 0] = 1.01
        found = self.gather(made, thorough=False, epsilon=0.5)
        self.assertIn("outside the box", names(found))

    def test_what_another_attack_fools_is_lost(self):
        # The ball holds ±0.025 and ±0.075; another attack claims ±0.075 and ±0.125.
        fooled = np.isin(np.arange(16), (2, 3, 4, 5))
        found = self.gather(None, fooled=fooled, thorough=False)
        self.assertEqual((found.withstood, found.lost_to_other), (12, 2))
        self.assertEqual(found.verdict, "beaten by another attack")
        found = self.gather(None, fooled=np.zeros(16, bool), thorough=False)
        self.assertEqual((found.lost_to_other, found.verdict), (0, BELIEVABLE))

    @parameterized.parameters(
        (
            {"made": np.zeros((15, 2, 2, 1), "f")},
            r"made must have shape .16, 2, 2, 1.* got .15,",
        ),
        (
            {"made": None, "fooled": np.zeros(15, bool)},
            r"fooled must .* .16,. .* got .15,",
        ),
    )
    def test_other_shapes_are_refused(self, arrays, message):
        with self.assertRaisesRegex(ValueError, message):
            self.gather(**arrays)

    def test_nothing_is_left_to_be_attacked_again(self):
        dark = ladder()._replace(images=np.zeros((16, 2, 2, 1), "f"))
        checks = evaluate.make_checks(
            bright,
            losses.cross_entropy(bright),
            attacks.l2,
            pgd_at(bright),
            more_steps=pgd_at(bright),
        )
        labels = np.ones(16, np.int32)
        found = gather(checks, jnp.float32(1), dark._replace(labels=labels))
        self.assertEqual(
            (found.withstood, found.large_withstood, found.lost_to_more_steps),
            (0, 0, 0),
        )


class HonestTest(parameterized.TestCase):
    @parameterized.parameters(
        ("mlp", False, 0.25),
        ("mlp", False, 0.5),
        ("mlp", True, 0.5),
        ("mlp", True, 0.75),
        ("small", False, 0.5),
    )
    def test_a_trained_network_is_believable(self, name, adversarial, epsilon):
        _, params = trained(name, adversarial)
        checks = honest_checks(name)
        found = gather(checks, params, digits()[1], epsilon=epsilon)
        self.assertEqual(found.findings, ())
        self.assertEqual(found.verdict, BELIEVABLE)
        self.assertEqual(found.remarks, ())
        found.refuse()

    def test_the_accuracy_is_that_of_evaluate(self):
        model, params = trained("mlp")
        at = pgd_at(model.apply, random_start=True, restarts=2)
        ticks = []
        found, withstood = gathered(
            all_checks(model.apply, at),
            params,
            digits()[1],
            tick=ticks.append,
        )
        for epsilon, attack_at in ((0.0, None), (EPSILON, at)):
            score = evaluate.score(
                jax.random.clone(KEY),
                evaluate.make_correct(model.apply, attack_at),
                params,
                digits()[1],
                epsilon=epsilon,
                batch_size=40,
                mesh=devices.make_mesh(4),
            )
            counted = found.withstood if epsilon else found.correct
            self.assertEqual(score, evaluate.Score(counted, found.total))
            self.assertEqual(found.withstood, withstood.sum())
        # Of those that are not attacked again, too.
        self.assertEqual(sum(ticks), 4 * 200)
        self.assertIn(200 - found.withstood, ticks)

    def test_noise_that_is_always_the_same_is_no_noise(self):
        model, params = trained("mlp")

        noise = np.random.default_rng(3).normal(size=(1, 8, 8, 1)).astype("f")

        def noisy(x):
            return x + 0.1 * noise

        apply = changed(model, images=noisy)
        self.assertEqual(
            gather(all_checks(apply), params, digits()[1]).verdict, BELIEVABLE
        )

    def test_log_probabilities_are_logits(self):
        model, params = trained("mlp")
        apply = changed(model, logits=jax.nn.log_softmax)
        self.assertEqual(
            gather(all_checks(apply), params, digits()[1]).verdict, BELIEVABLE
        )


class PlantedTest(parameterized.TestCase):
    """Every failure is found and named, and nothing else is."""

    def expect(self, expected, checks, *, network="mlp", test=None, **options):
        _, params = trained(network)
        found = gather(checks, params, test or digits()[1], **options)
        self.assertEqual(names(found), set(expected), found)
        self.assertEqual(set(found.verdict.split(", ")), set(expected))
        return found

    def test_probabilities(self):
        apply = changed(trained("mlp")[0], logits=jax.nn.softmax)
        found = self.expect(["probabilities"], all_checks(apply))
        self.assertEqual(found.probabilities, 200)

    def test_logits_too_large_for_cross_entropy(self):
        apply = changed(trained("mlp")[0], logits=lambda z: 1000 * z)
        checks = all_checks(apply)
        found = self.expect(["vanishing gradient"], checks, thorough=False)
        self.assertGreater(found.zero, 150)
        # No attack on it gets anywhere, at any radius; random points do.
        expected = "vanishing gradient", "beaten by another attack"
        self.expect([*expected, "survives any epsilon"], checks)

    def test_large_logits_do_not_matter_to_the_margin(self):
        model, params = trained("mlp")
        apply = changed(model, logits=lambda z: 1000 * z)
        loss = losses.margin(apply)

        def attack_at(epsilon):
            threat = attacks.l2(epsilon)
            return attacks.pgd(loss, threat, steps=STEPS, step_size=epsilon / 8)

        checks = evaluate.make_checks(apply, loss, attacks.l2, attack_at)
        found = gather(checks, params, digits()[1])
        self.assertEqual(found.verdict, BELIEVABLE)
        self.assertEqual(found.vanishing, 0)

    def test_a_quantiser_before_the_network(self):
        model, _ = trained("mlp")
        apply = changed(model, images=lambda x: jnp.round(16 * x) / 16)
        checks = all_checks(apply, other=pgd_at(model.apply))
        found = self.expect(["vanishing gradient"], checks, thorough=False)
        self.assertEqual(found.zero, 200)
        expected = "vanishing gradient", "beaten by another attack"
        more = "survives any epsilon", "misses what was planted"
        self.expect([*expected, *more], checks)

    @parameterized.parameters("pure_callback", "io_callback", "counter")
    def test_noise(self, kind):
        generator = np.random.default_rng(0)
        count = iter(range(1000))

        def draw(x):
            shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
            if kind == "counter":
                drawn = np.random.default_rng(next(count)).normal(size=x.shape)
                return drawn.astype("f")
            call = jax.pure_callback if kind == "pure_callback" else io_callback
            return call(lambda: generator.normal(size=x.shape).astype("f"), shape)

        apply = changed(trained("mlp")[0], images=lambda x: x + 0.1 * draw(x))
        # What else an attack on noise would be told is the same for every kind.
        others = ["other", "more_steps", "attack_on"] if kind != "pure_callback" else []
        checks = all_checks(apply, **dict.fromkeys(others))
        found = self.expect(["not deterministic"], checks)
        self.assertGreater(found.varied, 150)

    def test_noise_that_changes_with_every_run(self):
        # A compiler may make one of two equal calls, but not of two runs.
        count = iter(range(4))

        def twice(params, x, kept):
            z = jnp.eye(4)
            return z.at[1].add(next(count)), jnp.zeros(4, bool)

        _, varied, _ = observations.compare(twice, None, jnp.zeros((4, 2, 2, 1)))
        self.assertEqual(varied.tolist(), [False, True, False, False])

    @parameterized.parameters(1, 4)
    def test_batch_norm_in_training_mode(self, mesh):
        model, _ = trained("small")

        def apply(params, x):
            return model.train(params, x)[0]

        found = self.expect(
            ["depends on the batch"],
            evaluate.make_checks(
                apply, losses.cross_entropy(apply), attacks.l2, pgd_at(apply)
            ),
            network="small",
            batch_size=40,
            mesh=mesh,
        )
        self.assertEqual(found.mixed, 200)
        self.assertEqual(found.varied, 0)

    def test_epsilon_in_grey_levels(self):
        found = self.expect(["huge epsilon"], honest_checks("mlp"), epsilon=0.5 * 255)
        self.assertEqual((found.grey, found.others), (200, 1.0))

    def test_steps_too_short_to_leave_the_middle(self):
        apply = trained("mlp")[0].apply
        found = self.expect(
            ["short steps"],
            all_checks(
                apply, pgd_at(apply, crossings=0.6), crossings=0.6, more_steps=None
            ),
        )
        self.assertLess(found.largest, 0.61 * EPSILON)
        # Seen without being told, by the attack that gets further.
        self.expect(
            ["short steps", "stops early"],
            all_checks(apply, pgd_at(apply, crossings=0.6), crossings=None),
        )

    def test_an_attack_that_leaves_the_ball(self):
        apply = trained("mlp")[0].apply
        at = pgd_at(apply)
        found = self.expect(
            ["outside the ball"], all_checks(apply, lambda epsilon: at(1.001 * epsilon))
        )
        self.assertAlmostEqual(found.largest, 1.001 * EPSILON, delta=2e-4)

    def test_an_attack_that_leaves_the_box(self):
        apply = trained("mlp")[0].apply
        inside = pgd_at(apply)

        def at(epsilon):
            def attack(keys, params, x, y):
                # Shorter by what black pixels get darker.
                x_adv = inside(epsilon - 1e-4)(keys, params, x, y)
                return x_adv - jnp.where(x == 0, 0.001, 0)

            return attack

        found = self.expect(["outside the box"], all_checks(apply, at))
        self.assertAlmostEqual(found.outside, 0.001, places=6)

    @parameterized.named_parameters(
        ("logits", "logits"), ("gradients", "gradients"), ("images", "images")
    )
    def test_what_is_not_finite(self, where):
        model, _ = trained("mlp")
        attack_at = None

        def broken(z):
            return jnp.where(z[:, :1] > 2, jnp.nan, z)

        if where == "logits":
            apply = changed(model, logits=broken)
        elif where == "gradients":
            # The root's slope at 0 is infinite, and 0 times that NaN.
            apply = changed(model, images=lambda x: jnp.sqrt(x) ** 2)
        else:
            apply = model.apply

            def attack_at(epsilon):
                return lambda keys, params, x, y: x / jnp.where(x < 0.9, 1, 0)

        with jax.debug_nans(False):
            others = dict.fromkeys(["other", "more_steps", "attack_on"])
            checks = all_checks(apply, attack_at, **others)
            found = self.expect(["not finite"], checks)
        json.dumps(found.as_dict(), allow_nan=False)
        bad = found.bad_logits, found.bad_gradients, found.bad_images
        self.assertEqual(
            [count > 0 for count in bad],
            {
                "logits": [True, False, False],
                "gradients": [True, True, True],
                "images": [True, False, True],
            }[where],
        )

    def test_shuffled_labels(self):
        test = digits()[1]
        labels = np.random.default_rng(0).permutation(test.labels)
        found = self.expect(
            ["no better than chance"],
            honest_checks("mlp"),
            test=test._replace(labels=labels),
        )
        self.assertAlmostEqual(found.chance, 0.1, places=3)

    def test_a_constant_answer_is_no_better_than_chance(self):
        # On 90 of 100 images right: the commonest class, whatever the image.
        images, labels = digits()[1].images[:100], np.zeros(100, np.int32)
        labels[:10] = 1
        apply = changed(
            trained("mlp")[0], logits=lambda z: z[:, :2] * 1e-3 + jnp.array([[1, 0.0]])
        )
        found = self.expect(
            ["no better than chance"],
            all_checks(apply),
            test=Dataset(images, labels, ("a", "b")),
        )
        self.assertEqual((found.correct, found.commonest), (90, 0.9))

    def test_an_attack_that_stops_early(self):
        apply = trained("mlp")[0].apply
        found = self.expect(
            ["stops early"],
            all_checks(apply, pgd_at(apply, steps=1, crossings=1), crossings=1.0),
        )
        self.assertGreater(found.lost_to_more_steps, 15)
        self.assertIn("1 times epsilon long", found.remarks[-1])

    def test_an_attack_that_returns_its_images(self):
        apply = trained("mlp")[0].apply

        def idle(epsilon):
            return lambda keys, params, x, y: x

        self.expect(
            ["changes nothing"],
            all_checks(apply, idle, crossings=None),
            thorough=False,
        )
        expected = "changes nothing", "stops early", "survives any epsilon"
        self.expect(
            [*expected, "misses what was planted"],
            all_checks(apply, idle, other=None, attack_on=lambda changed: idle),
        )


HONEST = Evidence(
    norm="l2",
    epsilon=0.5,
    total=1000,
    correct=950,
    withstood=500,
    chance=0.1,
    commonest=0.1,
    largest=0.5,
    rounding=1e-5,
    outside=0.0,
    bad_logits=0,
    bad_images=0,
    bad_gradients=0,
    probabilities=0,
    zero=0,
    vanishing=0,
    missed=0,
    varied=0,
    mixed=0,
    grey=0,
    others=0.0,
)


class JudgeTest(parameterized.TestCase):
    @parameterized.parameters(
        # Wilson's 95 % interval of 17 in 1,000 begins at 1.06 %, of 16 at 0.98 %.
        ({"missed": 16}, ""),
        ({"missed": 17}, "vanishing gradient"),
        ({"vanishing": 900, "zero": 900}, ""),
        ({"lost_to_more_steps": 16}, ""),
        ({"lost_to_more_steps": 17}, "stops early"),
        ({"lost_to_other": 17}, "beaten by another attack"),
        ({"lost_to_other": 17, "varied": 11}, "not deterministic"),
        ({"only_blind": 16}, ""),
        ({"only_blind": 17}, "gradients mislead"),
        ({"only_blind": 17, "varied": 11}, "not deterministic"),
        ({"varied": 10, "mixed": 10}, ""),
        ({"mixed": 11}, "depends on the batch"),
        ({"largest": 0.50001}, ""),
        ({"largest": 0.50002}, "outside the ball"),
        ({"outside": 1e-7}, ""),
        ({"outside": 2e-6}, "outside the box"),
        ({"crossings": 1.0}, ""),
        ({"crossings": 0.99}, "short steps"),
        ({"probabilities": 500}, ""),
        ({"probabilities": 501}, "probabilities"),
        ({"grey": 50, "others": 0.05}, ""),
        ({"grey": 51}, "huge epsilon"),
        ({"others": 0.051}, "huge epsilon"),
        ({"correct": 118, "withstood": 50}, "no better than chance"),
        ({"correct": 119, "withstood": 50}, ""),
        ({"large_withstood": 118, "large_epsilon": 4.0}, ""),
        ({"large_withstood": 119, "large_epsilon": 4.0}, "survives any epsilon"),
        ({"bad_logits": 1}, "not finite"),
        ({"bad_images": 1}, "not finite"),
        ({"bad_gradients": 1}, "not finite"),
        ({"largest": 0.0}, "changes nothing"),
        # A sequence, and an attack that finds what is planted, may break nothing.
        ({"largest": 0.0, "only_blind": 0}, ""),
        ({"largest": 0.0, "planted": 64, "found": 64}, ""),
        ({"largest": 0.0, "planted": 0, "found": 0}, "changes nothing"),
        # Wilson's interval of 118 in 1,000 begins at 9.95 %, of 119 at 10.04 %.
        ({"erratic": 118}, ""),
        ({"erratic": 119}, "noise keyed by the image"),
        ({"detected": 119}, "detects perturbations"),
        ({"shattered": 119}, "shattered gradient"),
        ({"reversed": 119}, "reversed gradient"),
        ({"replaced": 119}, "replaced gradient"),
        ({"astray": 119}, "wrong loss"),
        ({"aimless": 119}, "aimless"),
        ({"lowered": 475}, ""),
        ({"lowered": 476}, "goes the wrong way"),
        ({"behind": 16}, ""),
        ({"behind": 17}, "beaten by a single step"),
        # What is said once.
        ({"erratic": 500, "shattered": 500}, "noise keyed by the image"),
        ({"erratic": 500, "missed": 500}, "vanishing gradient"),
        ({"reversed": 500, "lowered": 900, "astray": 500}, "reversed gradient"),
        ({"astray": 500, "lowered": 900, "aimless": 500}, "wrong loss"),
        ({"lowered": 900, "aimless": 500, "behind": 500}, "goes the wrong way"),
        ({"aimless": 500, "behind": 500}, "aimless"),
        ({"detected": 500, "behind": 500}, "detects perturbations"),
        ({"shattered": 500, "behind": 500}, "shattered gradient"),
        ({"replaced": 500, "behind": 500}, "replaced gradient"),
        ({"varied": 11, "astray": 500, "lowered": 900, "behind": 500}, "not determ"),
        # Wilson's interval of 52 in 64 ends at 88.9 %, of 53 at 90.1 %.
        ({"planted": 64, "found": 53}, ""),
        ({"planted": 64, "found": 52}, "misses what was planted"),
        ({"planted": 4, "found": 3}, ""),
        ({"planted": 4, "found": 2}, "misses what was planted"),
        # The ball is not used, and something got further.
        ({"largest": 0.4}, ""),
        ({"largest": 0.4, "behind": 17}, "short steps"),
        ({"largest": 0.4, "behind": 17, "only_blind": 0}, "beaten by a single step"),
        ({"largest": 0.46, "behind": 17}, "beaten by a single step"),
        ({"grain": 1.01, "withstood": 940}, "tiny epsilon"),
        ({"grain": 1.01, "withstood": 939}, ""),
        ({"grain": 0.99, "withstood": 950}, ""),
    )
    def test_thresholds(self, numbers, expected):
        verdict = HONEST._replace(**numbers).verdict
        self.assertStartsWith(verdict, expected or BELIEVABLE)
        self.assertNotIn(", ", verdict)

    def test_refusal_says_the_numbers_and_the_causes(self):
        found = HONEST._replace(largest=0.75, lost_to_other=100)
        with self.assertRaises(ValueError) as caught:
            found.refuse()
        message = str(caught.exception)
        self.assertStartsWith(
            message,
            "a robust accuracy of 50.0 % at l2 radius 0.5 is not believable:\n"
            "- outside the ball: A perturbation has l2 norm 0.75 in a ball of radius "
            "0.5",
        )
        self.assertIn(
            "\n- beaten by another attack: Another attack fools 100 of 1000 examples "
            "that withstood this attack: the robust accuracy is at most 40.0 %, not "
            "50.0 %.",
            message,
        )

    def test_json(self):
        found = HONEST._replace(crossings=2.5, bad_logits=3)
        values = json.loads(json.dumps(found.as_dict(), allow_nan=False))
        self.assertEqual(values["verdict"], "not finite")
        self.assertEqual(Evidence.from_dict(values), found)
        measured, _ = LinearTest().gather("l2")
        text = json.dumps(measured.as_dict(), allow_nan=False)
        self.assertEqual(Evidence.from_dict(json.loads(text)), measured)

    def test_json_of_another_version(self):
        values = HONEST.as_dict()
        with self.assertRaisesRegex(ValueError, r"unknown \['new'\]; .* version"):
            Evidence.from_dict({**values, "new": 1})
        del values["crossings"]  # Not checked.
        self.assertEqual(Evidence.from_dict(values), HONEST)
        del values["zero"]
        with self.assertRaisesRegex(ValueError, r"without \['zero'\]"):
            Evidence.from_dict(values)


class RefusalsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("grey_levels", {"epsilon": 8.0}, attacks.linf, "write k / 255"),
        ("no_radius", {"epsilon": 0.0}, attacks.l2, "must be positive"),
        ("no_ball", {}, lambda epsilon: attacks.free(), "needs a ball"),
        ("no_companions", {"batch_size": 1}, attacks.l2, "takes companions"),
    )
    def test_options(self, options, threat_at, message):
        checks = evaluate.make_checks(
            bright, losses.cross_entropy(bright), threat_at, pgd_at(bright, threat_at)
        )
        with self.assertRaisesRegex(ValueError, message):
            gather(checks, jnp.float32(1), ladder(), **options)

    def test_images_and_labels(self):
        checks = plain_checks()
        bad = ladder()._replace(images=255 * ladder().images)
        with self.assertRaisesRegex(ValueError, "divide 8-bit values"):
            gather(checks, jnp.float32(1), bad)
        bad = ladder()._replace(labels=1 + ladder().labels)
        with self.assertRaisesRegex(ValueError, "labels must be in 0 .. 1"):
            gather(checks, jnp.float32(1), bad)
