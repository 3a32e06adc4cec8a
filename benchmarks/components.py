"""AutoAttack's components by themselves, on images that a network gets right."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from nrf import attacks, devices
from nrf.evaluate import sequence


@functools.cache
def programs(apply, norm, classes, *, steps, targets, queries):
    """By name, compiled once for all radii and seeds."""
    components = attacks.autoattack(
        apply,
        getattr(attacks, norm),
        classes,
        steps=steps,
        targets=targets,
        queries=queries,
    )
    made = sequence.make_programs(apply, components)[1:]
    return {program.component.name: program for program in made}


class Case:
    """A network, and the first images that it gets right."""

    def __init__(self, apply, params, dataset, count=None):
        self.apply, self.params = apply, params
        z = np.asarray(apply(params, jnp.asarray(dataset.images)).logits)
        right = np.flatnonzero(z.argmax(-1) == dataset.labels)[:count]
        self.set = dataset._replace(
            images=dataset.images[right], labels=dataset.labels[right]
        )
        self.logits = z[right]
        self.mesh = devices.make_mesh()

    def attack(self, program, epsilon, seed, batch_size):
        """[n] bool: whom our component does not fool."""
        count = len(self.set.labels)
        broken = sequence.attack(
            jax.random.key(seed),
            program,
            self.params,
            self.set,
            left=np.arange(count),
            epsilon=epsilon,
            batch_size=batch_size,
            mesh=self.mesh,
        )
        left = np.ones(count, bool)
        left[broken.indices] = False
        return left
