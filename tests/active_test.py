"""Planted adversarial examples, and attacks that reach so far and no farther."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from nrf import attacks, losses
from nrf.evaluate.accuracy import make_logits
from nrf.evaluate.active import make_active, read
from nrf.evaluate.checks import make_attack
from nrf.evaluate.slopes import make_look
from nrf.types import outputs

KEY = jax.random.key(0)
COUNT, SIDE, EPSILON = 20, 8, 0.5
DIRECTION = np.random.default_rng(1).normal(size=(1, SIDE, SIDE, 1)).astype("f")
DIRECTION /= np.linalg.norm(DIRECTION)
MATRIX = np.random.default_rng(2).normal(size=(SIDE**2, 30)).astype("f")
IMAGES = np.random.default_rng(0).uniform(0.4, 0.6, (COUNT, SIDE, SIDE, 1)).astype("f")


def plane(params, x):
    """Logits that change along one direction of pixels; images are far from 0 and 1."""
    along = jnp.sum(DIRECTION * x, (1, 2, 3))
    return jnp.stack([params * along, -along, 0 * along], 1)


def reaching(share):
    """Along the direction, to so much of the ball's radius, whatever the gradient."""

    def attack_on(apply):
        def at(epsilon):
            def attack(keys, params, x, y):
                ends = [x + side * share * epsilon * DIRECTION for side in (-1, 1)]
                z = [apply(params, end).logits[:, 1] for end in ends]
                return jnp.where((z[0] > z[1])[:, None, None, None], *ends)

            return attack

        return at

    return attack_on


def pgd(**options):
    def attack_on(apply):
        loss = losses.cross_entropy(apply)
        return lambda epsilon: attacks.pgd(
            loss, attacks.l2(epsilon), steps=5, step_size=0.4 * epsilon, **options
        )

    return attack_on


def count(attack_on, apply=plane, images=IMAGES, epsilon=EPSILON):
    """How many are planted, and how many found."""
    apply = outputs(apply)
    logits, look = make_logits(apply), make_look(apply, losses.margin(apply))
    attack = jax.jit(make_attack(attack_on(read(apply))))
    active = make_active(logits, look, attacks.l2, attack)
    planted, found = active(
        jax.random.clone(KEY),
        jnp.float32(1),
        jnp.float32(epsilon),
        jnp.arange(len(images)),
        images,
        jnp.zeros(len(images), jnp.int32),
    )
    return int(planted.sum()), int(found.sum())


class ActiveTest(parameterized.TestCase):
    @parameterized.parameters((0.0, 0), (0.74, 0), (0.76, COUNT), (1.0, COUNT))
    def test_the_boundary_is_three_quarters_of_the_way(self, share, expected):
        # Along a plane the farthest point is the one that is planted, and random points
        # of 64 pixels come less than half as far.
        self.assertEqual(count(reaching(share)), (COUNT, expected))

    @parameterized.parameters(
        ({},), ({"random_start": True, "restarts": 3},), ({"keep_best": True},)
    )
    def test_an_attack_that_works_finds_all(self, options):
        self.assertEqual(count(pgd(**options)), (COUNT, COUNT))

    def test_a_robust_network_is_no_excuse(self):
        # All images have logits of 100 to 0, and changes of 0.5 at most.
        def robust(params, x):
            return plane(params, x) + jnp.array([[100.0, 0, 0]])

        self.assertEqual(count(pgd(), robust), (COUNT, COUNT))
        self.assertEqual(count(reaching(0.1), robust), (COUNT, 0))

    def test_gradients_that_mislead_find_nothing(self):
        @jax.custom_vjp
        def turned(x):
            return x

        turned.defvjp(lambda x: (x, None), lambda _, g: (-g,))
        planted, found = count(pgd(), lambda params, x: plane(params, turned(x)))
        self.assertEqual((planted, found), (COUNT, 0))

        def rounded(params, x):
            # Of many logits, in which random points are in many directions.
            return jnp.round(32 * x).reshape(len(x), -1) @ MATRIX

        planted, found = count(pgd(), rounded)
        self.assertEqual((planted > COUNT // 2, found), (True, 0))

    @parameterized.named_parameters(
        ("constant", lambda params, x: jnp.ones((len(x), 3))),
        ("not_a_number", lambda params, x: jnp.full((len(x), 3), jnp.nan)),
        (
            "rounding",
            lambda params, x: (
                (300 + plane(params, x)).astype(jnp.bfloat16).astype(jnp.float32)
            ),
        ),
    )
    def test_nothing_is_planted_where_logits_do_not_change(self, apply):
        with jax.debug_nans(False):
            self.assertEqual(count(reaching(0.0), apply), (0, 0))

    def test_nothing_is_planted_where_random_points_find_it(self):
        # One pixel has two directions only.
        one = IMAGES[:, :1, :1]

        def bright(params, x):
            return jnp.concatenate([x[:, 0, 0], -x[:, 0, 0]], 1)

        self.assertEqual(count(pgd(), bright, one, 0.1), (0, 0))
