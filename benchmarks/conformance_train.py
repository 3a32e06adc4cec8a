"""Makes the images and the weights of conformance/, in half a minute.

    python benchmarks/conformance_train.py

expected.json is of these weights: another processor trains slightly other ones.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from conformance import FOLDER, LAYERS, network

from nrf import data, models, runs
from nrf.config import PGD, Training
from nrf.experiments.networks import fit

SHAPES = {
    "linear": ((64, 10),),
    "mlp": ((64, 24), (24, 10)),
    "cnn": ((3, 3, 1, 8), (3, 3, 8, 16), (64, 10)),
}
STANDARD = Training(epochs=20, batch_size=64, learning_rate=0.1)
ROBUST = replace(STANDARD, attack=PGD("l2", epsilon=0.5, steps=5, step_size=0.15))
# Without BatchNorm, larger steps end in a network that says the same of all images.
CAREFUL = replace(ROBUST, epochs=30, learning_rate=0.05)
TRAININGS = {"linear": STANDARD, "mlp": STANDARD, "cnn": CAREFUL}
WEIGHTED = ("conv", "dense")
EACH = 10  # Images of each digit.


@dataclass(frozen=True)
class Layers:
    name: str

    def build(self, num_classes):
        def init(key, x):
            """Kernels as He et al. draw them, and no biases."""
            places = [i for i, of in enumerate(LAYERS[self.name]) if of in WEIGHTED]
            weights = {}
            for place, shape in zip(places, SHAPES[self.name], strict=True):
                scale = np.sqrt(2 / np.prod(shape[:-1])).astype(np.float32)
                own = jax.random.fold_in(key, place)
                weights[f"kernel{place}"] = scale * jax.random.normal(own, shape)
                weights[f"bias{place}"] = jnp.zeros(shape[-1])
            return weights

        return models.function(network(LAYERS[self.name]), init)


def main():
    train, test = data.load("digits")
    rows = [np.flatnonzero(test.labels == k)[:EACH] for k in range(10)]
    rows = np.stack(rows, 1).ravel()  # 0, 1, .., 9, 0, 1, ..
    images, labels = test.images[rows], test.labels[rows]
    np.savez_compressed(FOLDER / "images.npz", images=images, labels=labels)
    for name, training in TRAININGS.items():
        made = fit(
            runs.key_for(0, name),
            train,
            test,
            network=Layers(name),
            training=training,
            env=runs.local(),
        )
        print(name, made.history[-1])
        weights = jax.tree.map(np.asarray, made.params["params"])
        np.savez_compressed(FOLDER / f"{name}.npz", **weights)


if __name__ == "__main__":
    main()
