"""AutoAttack's components on a set that any library can run: conformance/README.md.

    python benchmarks/conformance.py              # nrf, beside what is expected
    pip install torch==2.13.0 pyautoattack==0.2.0
    python benchmarks/conformance.py --published  # The published attacks beside it.

Every component attacks by itself, with three seeds, the images that a network gets
right. With --published differences are counted image by image, and explained, and
expected.json is written anew for the networks and norms that were run.
"""

import argparse
import json
import pathlib

import jax
import numpy as np
from components import Case, programs

from nrf import attacks, devices, losses
from nrf.attacks import Component
from nrf.attacks.autoattack import towards
from nrf.evaluate import sequence
from nrf.models.convolution import conv
from nrf.types import Dataset, Output

FOLDER = pathlib.Path(__file__).with_suffix("")
EXPECTED = FOLDER / "expected.json"
SETTINGS = {"steps": 100, "targets": 9, "queries": 5000}
SEEDS = 3
TOLERANCE = 1  # Images beyond the lowest and the highest count.
LAYERS = {
    "linear": ("flatten", "dense"),
    "mlp": ("flatten", "dense", "relu", "dense"),
    "cnn": tuple("conv relu pool conv relu pool flatten dense".split()),
}
# About half of the images withstand.
RADII = {
    "linear": {"linf": 0.12, "l2": 0.7, "l1": 1.8},
    "mlp": {"linf": 0.1, "l2": 0.55, "l1": 1.5},
    "cnn": {"l2": 0.7},
}
COMPONENTS = ("apgd-ce", "apgd-t", "fab-t", "square")
WHOLE, NO_SEARCH = "square, whole image", "fab-t, no last search"
WHY = {
    "square": "Windows of the published Square never reach the last row and column, of "
    f"8 each; '{WHOLE}' is the published one with that mended.",
    "fab-t": "nrf's FAB ends, as in its paper, with a search between the image and "
    f"what was found, which the published code leaves out; '{NO_SEARCH}' is nrf's "
    "without.",
}


def network(layers):
    """apply(weights, x) of such layers, as README.md says them."""

    def apply(weights, x):
        for number, layer in enumerate(layers):
            if layer == "conv":
                x = conv(
                    x,
                    weights[f"kernel{number}"],
                    (1, 1),
                    "SAME",
                    dimension_numbers=jax.lax.conv_dimension_numbers(
                        x.shape,
                        weights[f"kernel{number}"].shape,
                        ("NHWC", "HWIO", "NHWC"),
                    ),
                )
                x = x + weights[f"bias{number}"][None, None, None]
            elif layer == "pool":
                b, h, w, c = x.shape
                x = x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
            elif layer == "flatten":
                x = x.reshape(len(x), -1)
            elif layer == "relu":
                x = jax.nn.relu(x)
            else:
                x = x @ weights[f"kernel{number}"] + weights[f"bias{number}"][None]
        return Output(x, x)

    return apply


def load(name):
    """Weights of a network by their names, and the images."""
    weights = dict(np.load(FOLDER / f"{name}.npz"))
    with np.load(FOLDER / "images.npz") as files:
        digits = Dataset(files["images"], files["labels"], tuple("0123456789"))
    return weights, digits


def exact(weights, case, norm, epsilon):
    """How many images withstand every attack on the linear network, and how surely.

    For every other class the worst image of the ball within [0, 1] has a closed form:
    each pixel goes as far as it may (linf); the pixels that count most go first (l1);
    all go in proportion until they end, by bisection (l2). The second number is the
    least distance of a worst margin to 0.
    """
    kernel = np.float64(weights["kernel1"])
    x = np.float64(case.set.images).reshape(len(case.set.labels), -1)
    z = x @ kernel + np.float64(weights["bias1"])
    rows = np.arange(len(x))
    worst = np.full(len(x), -np.inf)
    for k in range(z.shape[1]):
        slope = kernel[:, k] - kernel[:, case.set.labels].T
        pairs = zip(slope, x, strict=True)
        gain = np.stack([_climb(v, one, norm, epsilon) for v, one in pairs])
        margin = z[:, k] - z[rows, case.set.labels] + gain
        worst = np.where(case.set.labels == k, worst, np.maximum(worst, margin))
    return int(np.sum(worst < 0)), float(np.abs(worst).min())


def _climb(slope, x, norm, epsilon):
    """The most that <slope, d> can be for one image."""
    size, room = np.abs(slope), np.where(slope > 0, 1 - x, x)
    if norm == "linf":
        return size @ np.minimum(room, epsilon)
    if norm == "l1":
        order = np.argsort(-size)
        before = np.cumsum(room[order]) - room[order]
        return size[order] @ np.clip(epsilon - before, 0, room[order])
    low, high = 0.0, epsilon / max(size.max(), 1e-12) * 1e6
    for _ in range(200):
        middle = (low + high) / 2
        short = np.linalg.norm(np.minimum(middle * size, room)) < epsilon
        low, high = (middle, high) if short else (low, middle)
    return size @ np.minimum(low * size, room)


def without_search(apply, norm, classes):
    """nrf's FAB as the published code has it: without the last search."""

    def at(epsilon, rank):
        loss = losses.judged(apply, losses.targeted_margin, losses.margin)
        threat = getattr(attacks, norm)(epsilon)
        fab = attacks.fab(loss, threat, steps=SETTINGS["steps"], halvings=0)
        return towards(apply, fab, rank)

    return sequence.make_programs(apply, [Component(NO_SEARCH, at, classes - 1)])[1]


def by_nrf(name, norm, epsilon, components=None, seeds=SEEDS):
    """The case, and by component how many images withstand it, for each seed."""
    weights, digits = load(name)
    case = Case(network(LAYERS[name]), weights, digits)
    mine = programs(case.apply, norm, digits.num_classes, **SETTINGS)
    counts = {
        component: [
            int(case.attack(program, epsilon, seed, len(case.set.labels)).sum())
            for seed in range(seeds)
        ]
        for component, program in mine.items()
        if components is None or component in components
    }
    return case, {component: {"nrf": row} for component, row in counts.items()}


def by_both(name, norm, epsilon):
    """The same for nrf and for the published components in PyTorch."""
    from autoattack import Both, agreement
    from twin import Layers

    weights, digits = load(name)
    layers = network(LAYERS[name])
    case = Both(layers, weights, digits, Layers(LAYERS[name], weights))
    rows = {}
    for row in agreement(case, {norm: epsilon}, SEEDS, SETTINGS["queries"]):
        rows[row["component"]] = {
            "nrf": row["jax"],
            "published": row["torch"],
            "only_nrf": row["only_jax"],
            "only_published": row["only_torch"],
        }
    program = without_search(case.apply, norm, digits.num_classes)
    left = case.attack(program, epsilon, 0, len(case.y))
    rows[NO_SEARCH] = {"nrf": [int(left.sum())]}
    return case, rows


def measure(name, norm, published):
    epsilon = RADII[name][norm]
    case, rows = (by_both if published else by_nrf)(name, norm, epsilon)
    truth = exact(case.params, case, norm, epsilon)[0] if name == "linear" else None
    return {
        "network": name,
        "norm": norm,
        "epsilon": epsilon,
        "right": len(case.set.labels),
        "exact": truth,
        "components": rows,
    }


def bounds(row, component):
    """The lowest and the highest count that a library should have."""
    entry, components = row["components"][component], row["components"]
    # The published Square as it should be, and not as it is.
    theirs = components[WHOLE] if component == "square" else entry
    counts = [*entry["nrf"], *theirs["published"]]
    low, high = min(counts) - TOLERANCE, max(counts) + TOLERANCE
    return max(low, row["exact"] or 0), high


def show(row, expected):
    print("{network} {norm} {epsilon:g}: {right} right".format(**row), end="")
    print("" if row["exact"] is None else f", {row['exact']} withstand everything")
    for component, entry in row["components"].items():
        words = [f"  {component:22} nrf {entry['nrf']}"]
        if "published" in entry:
            words.append("published {published}".format(**entry))
            only = entry["only_nrf"], entry["only_published"]
            words.append("only nrf {}, only published {}".format(*only))
        elif expected and component in COMPONENTS:
            low, high = bounds(expected, component)
            fits = all(low <= count <= high for count in entry["nrf"])
            words.append(f"expected {low} .. {high}{'' if fits else ': NOT SO'}")
        print("  ".join(words), flush=True)
        if component in WHY and (entry.get("only_nrf") or entry.get("only_published")):
            print(f"    {WHY[component]}")


def written(rows, about):
    """expected.json with these rows instead of those of the same network and norm."""
    old = json.loads(EXPECTED.read_text())["cases"] if EXPECTED.exists() else []
    cases = {(row["network"], row["norm"]): row for row in [*old, *rows]}
    order = [(name, norm) for name in RADII for norm in RADII[name]]
    return {
        **about,
        "settings": SETTINGS,
        "seeds": list(range(SEEDS)),
        "tolerance": TOLERANCE,
        "layers": LAYERS,
        "cases": [cases[place] for place in order if place in cases],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=RADII, default=list(RADII))
    norms = ["linf", "l2", "l1"]
    parser.add_argument("--norms", nargs="+", choices=norms, default=norms)
    parser.add_argument("--published", action="store_true")
    options = parser.parse_args()
    devices.cache_programs()
    if options.published:
        from twin import header, use_all_cores

        use_all_cores()
        about = header("pyautoattack")
    known = json.loads(EXPECTED.read_text())["cases"] if EXPECTED.exists() else []
    expected = {(row["network"], row["norm"]): row for row in known}
    for name in options.networks:
        for norm in [norm for norm in options.norms if norm in RADII[name]]:
            row = measure(name, norm, options.published)
            show(row, expected.get((name, norm)))
            if options.published:
                text = json.dumps(written([row], about), indent=1)
                EXPECTED.write_text(text + "\n")


if __name__ == "__main__":
    main()
