"""Which of the images that an attack saw it returns: what fools is never given up."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import attacks, losses
from nrf.attacks.inputs import fold_each

BALL = attacks.linf(0.4)


def pixel(x):
    return x[:, 0, 0, 0]


def steps(params, x):
    """Logits of a pixel, without gradient; the label is 0.

    Below 0.3 they are wrong with a cross-entropy of 0.7, above it right with one of
    1.1: the loss prefers the latter. Above 0.75 they are NaN.
    """
    wrong, right = jnp.array([0.0, 0.01, -10.0]), jnp.array([0.0, -0.01, -0.01])
    here = jax.lax.stop_gradient(pixel(x))[:, None]
    z = jnp.where(here < 0.3, wrong[None], right[None])
    return jnp.where(here > 0.75, jnp.nan, z)


def slope(params, x):
    """Logits whose cross-entropy rises with the pixel; wrong below 0.69, right above.

    The best image of a walk from 0.5 in steps of 0.1 is the second: wrong, with more
    cross-entropy than the first.
    """
    share = (pixel(x) - 0.5) / 0.2
    first = 0.01 - 0.0105 * share
    return jnp.stack([0 * share, first, 3 * share - 3.05], -1)


def grey(count):
    return jnp.full((count, 1, 1, 1), 0.5), jnp.zeros(count, jnp.int32)


def keys(count):
    return attacks.example_keys(jax.random.key(5), jnp.arange(count))


def ends(x, runs):
    """[runs, B] where they end: without gradient, where they start."""
    return np.stack(
        [pixel(x + BALL.sample(fold_each(keys(len(x)), r), x)) for r in range(runs)]
    )


ON = {
    "pgd": lambda loss, **options: attacks.pgd(
        loss, BALL, steps=1, step_size=0.1, **options
    ),
    "apgd": lambda loss, **options: attacks.apgd(loss, BALL, steps=1, **options),
}


class ChoiceTest(parameterized.TestCase):
    @parameterized.product(name=list(ON), loss=("cross_entropy", "dlr", "margin"))
    def test_more_restarts_never_raise_an_accuracy(self, name, loss):
        x, y = grey(40)
        loss = getattr(losses, loss)(steps)
        counts = []
        for restarts in (1, 2, 4):
            attack = ON[name](loss, random_start=True, restarts=restarts)
            with jax.debug_nans(False):
                reached = pixel(attack(keys(40), None, x, y))
            some = ends(x, restarts)
            np.testing.assert_array_equal(reached < 0.3, (some < 0.3).any(0))
            if restarts > 1:  # One run of PGD has but one image to return.
                finite = (some <= 0.75).any(0)
                np.testing.assert_array_equal((reached <= 0.75)[finite], True)
            counts.append(int((reached < 0.3).sum()))
        self.assertLess(counts[0], counts[1])
        self.assertLess(counts[1], counts[2])

    @parameterized.named_parameters(
        ("pgd", lambda loss: attacks.pgd(
            loss, BALL, steps=2, step_size=0.1, keep_best=True)),
        ("square", lambda loss: attacks.square(loss, attacks.linf(0.2), queries=30)),
    )  # fmt: skip
    def test_a_wrong_image_on_the_way_is_kept(self, make):
        x, y = grey(4)
        attack = make(losses.cross_entropy(slope))
        x_adv = attack(keys(4), None, x, y)
        self.assertTrue((losses.margin(slope)(None, x_adv, y) > 0).all())
        np.testing.assert_array_less(jnp.abs(x_adv - 0.5), 0.20001)

    def test_of_several_wrong_images_the_best_is_kept(self):
        x, y = grey(4)
        attack = attacks.pgd(
            losses.cross_entropy(slope), BALL, steps=2, step_size=0.1, keep_best=True
        )
        np.testing.assert_allclose(pixel(attack(keys(4), None, x, y)), 0.6, rtol=1e-6)

    def test_towards_a_target_success_is_the_target(self):
        # The target 1 is predicted below 0.3 and nowhere else; its cross-entropy is
        # less above.
        def apply(params, x):
            low = jax.lax.stop_gradient(pixel(x))[:, None] < 0.3
            likely, other = jnp.array([-0.1, 0.0, -0.1]), jnp.array([0.1, 0.0, -9.0])
            return jnp.where(low, likely[None], other[None])

        towards = losses.negate(losses.cross_entropy(apply))
        attack = attacks.pgd(
            towards, BALL, steps=1, step_size=0.1, random_start=True, restarts=9
        )
        x, _ = grey(20)
        x_adv = attack(keys(20), None, x, jnp.ones(20, jnp.int32))
        np.testing.assert_array_equal(pixel(x_adv) < 0.3, (ends(x, 9) < 0.3).any(0))


def blind(params, x):
    """A network that says NaN of everything, and has no gradient."""
    z = jnp.zeros((len(x), 3)) + 0 * jax.lax.stop_gradient(pixel(x))[:, None]
    return jnp.nan * z


class NaNTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(jax.debug_nans(False))

    @parameterized.named_parameters(
        ("apgd", lambda apply: attacks.apgd(losses.dlr(apply), BALL, steps=3)),
        ("square", lambda apply: attacks.square(losses.margin(apply), BALL, queries=3)),
        ("fab", lambda apply: attacks.fab(losses.margin(apply), BALL, steps=3)),
        ("worst_case", lambda apply: attacks.worst_case(
            [attacks.square(losses.margin(steps), BALL, queries=9)],
            losses.margin(apply))),
        *((f"autoattack_{c.name}", lambda apply, i=i: attacks.autoattack(
            apply, attacks.linf, 3, steps=3, queries=3)[i].attack_at(0.4, 0))
          for i, c in enumerate(attacks.autoattack(steps, attacks.linf, 3))),
    )  # fmt: skip
    def test_nothing_is_better_where_all_is_nan(self, make):
        # The network is wrong about x already.
        x, y = grey(2)
        np.testing.assert_array_equal(make(blind)(keys(2), None, x, y), x)

    @parameterized.named_parameters(
        ("square", attacks.square(losses.cross_entropy(steps), BALL, queries=30)),
        ("worst_case", attacks.worst_case(
            [lambda keys, params, x, y: x + 0.3, lambda keys, params, x, y: x - 0.3],
            losses.margin(steps))),
    )  # fmt: skip
    def test_nan_is_passed_over(self, attack):
        x, y = grey(5)
        x_adv = attack(keys(5), None, x, y)
        self.assertLess(float(pixel(x_adv).max()), 0.3)

    def test_what_is_nan_already_is_not_mended(self):
        # The network is wrong about x, and would be right about what Square finds.
        x, y = grey(3)
        x = x + 0.4
        margin = losses.margin(steps)
        square = attacks.square(margin, attacks.linf(0.2), queries=9)
        attack = attacks.worst_case([square], margin)
        np.testing.assert_array_equal(attack(keys(3), None, x, y), x)
