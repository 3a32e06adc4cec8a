"""What is refused before any work, and the data that a run begins with."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import jax

from nrf import data, devices, train
from nrf.config import Experiment, Given
from nrf.experiments import usefulness
from nrf.experiments.networks import check_network, check_training, parameters
from nrf.runs import Env, Made, Progress, Steps, Weights, key_for, manifest, store
from nrf.runs.load import RESULTS, load
from nrf.runs.plan import Plan
from nrf.runs.steps import given
from nrf.types import Dataset

Run = TypeVar("Run", bound=Callable[..., Any])


def at_precision(run: Run) -> Run:
    """`run` of a config, whose `precision` all programs compiled within have.

    They run on the devices of `nrf.devices.share_cpu`.
    """

    @functools.wraps(run)
    def precise(config: Any, *args: Any, **options: Any) -> Any:
        if not hasattr(config, "precision"):
            raise ValueError(
                f"a config is wanted, such as options.load('digits'), got {config!r}."
            )
        devices.share_cpu()
        with jax.default_matmul_precision(config.precision):
            return run(config, *args, **options)

    return cast(Run, precise)


def prepare(config: Experiment, out: Path, sets: Any = None) -> dict[str, Made]:
    """D, its test set or validation part, and what else networks are tested on.

    `sets` is (train, test) where these are not the config's.

    Raises:
      ValueError: they are not there or do not fit the config; the devices do not; or
        `out` holds something else than a run of these seeds.
      OSError: `out` cannot be written.
    """
    check_folder(out, "results.json", config.seeds)
    train_set, test_set = data.load(
        config.data if sets is None else sets,
        data_dir=config.data_dir,
        train_examples=config.train_examples,
        test_examples=config.test_examples,
    )
    if config.validation:
        # The same part for every seed.
        key = key_for(0, "validation")
        train_set, test_set = train.hold_out(key, train_set, config.validation)
        if not len(test_set.labels):
            raise ValueError(
                f"validation {config.validation} of {len(train_set.labels)} training "
                "images is none of them; give a larger part."
            )
    others = {}
    if config.tables and config.tables.relabelled:
        labels = (test_set.labels + 1) % test_set.num_classes
        others["relabelled"] = test_set._replace(labels=labels)
    if config.tables and config.tables.second_test:
        others["second_test"] = data.load_test(
            config.tables.second_test, test_set, data_dir=config.data_dir
        )
    _check(config, train_set, test_set)
    sets = {"D": train_set, "test": test_set, **others}
    return {name: given(name, dataset) for name, dataset in sets.items()}


def check_folder(out: Path, results: str, seeds: tuple[int, ...]) -> None:
    """Raises ValueError where `out` holds another kind of run, or more seeds.

    Raises OSError where it cannot be written.
    """
    store.check_writable(out)
    for name in RESULTS:
        if name != results and (out / name).exists():
            raise ValueError(
                f"{out} holds another kind of run, with a {name}; choose another --out."
            )
    there = {
        int(path.name.removeprefix("seed"))
        for path in out.glob("seed*")
        if path.name.removeprefix("seed").isdecimal()
        and any((step / manifest.FILE).is_file() for step in path.iterdir())
    }
    if (out / results).exists() and there - set(seeds):
        every = " ".join(map(str, sorted(there | set(seeds))))
        raise ValueError(
            f"{out} has results of seeds {', '.join(map(str, sorted(there)))}, and "
            f"this run would leave them out of {results}; write --seeds {every}, or "
            "choose another --out."
        )


def check_sources(config: Experiment, sources: Mapping[str, Any], D: Dataset) -> None:
    """Raises ValueError unless these are parameters of the config's networks on D."""
    for name, params in sources.items():
        if name not in config.networks:
            raise ValueError(
                f"sources has {name!r}; the config's networks on D are "
                f"{', '.join(config.networks)}."
            )
        wrong = _difference(config.network, params, D)
        if wrong:
            raise ValueError(
                f"the parameters of {name!r} are not those of {config.network}: "
                f"{wrong}; they are all variables, such as "
                "{'params': ..., 'batch_stats': ...}."
            )


def _difference(architecture: Any, params: Any, D: Dataset) -> str:
    """The first variable that is not the architecture's for such images; "": none."""
    wanted, shapes = _shapes(parameters(architecture, D)), _shapes(params)
    for path in sorted(wanted | shapes):
        if wanted.get(path) != shapes.get(path):
            found, right = shapes.get(path, "missing"), wanted.get(path, "nothing")
            return f"{path} is {found} instead of {right}"
    return ""


def weights_of(network: Given) -> Weights:
    """The network of another run; ValueError where it is not there or not one."""
    run, name = load(network.run), network.network
    if name is None:
        there = [one["name"] for one in run.results.get("networks", [])]
        if len(there) != 1:
            raise ValueError(
                f"which network of {network.run}? Write Given({network.run!r}, NAME): "
                f"{', '.join(there)}."
            )
        (name,) = there
    return run.weights(name, seed=network.seed)


def _check_given(network: Given, D: Dataset) -> None:
    weights = weights_of(network)
    if weights.num_classes != D.num_classes:
        raise ValueError(
            f"the network of {network.run} tells {weights.num_classes} classes apart, "
            f"and the data have {D.num_classes}."
        )
    check_network(weights.architecture, D)
    wrong = _difference(weights.architecture, weights.params, D)
    if wrong:
        raise ValueError(f"the network of {network.run} is of other images: {wrong}.")


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def data_name(config: Any, data: Any) -> str | None:
    """How the data are called: None for arrays, which have no name."""
    if data is None:
        return config.data
    return str(data) if isinstance(data, str | Path) else None


def seed_steps(
    config: Any,
    out: Path,
    seeds: Sequence[int],
    *,
    data: str | None = None,
    progress: Progress,
    reuse: Sequence[Path | str],
) -> list[Steps]:
    """The steps of every seed, each in a folder of its own in `out`.

    `data` is the name of the data set where it has one; constructed sets tell it.
    """
    env = Env(devices.make_mesh(config.work.devices), config.work, progress)
    return [
        Steps(
            out / f"seed{seed}",
            seed,
            env._replace(origin={"data": data, "seed": seed}),
            reuse=[Path(folder) / f"seed{seed}" for folder in reuse],
        )
        for seed in seeds
    ]


def announce(steps: Sequence[Steps], walk: Callable[[Steps], Any]) -> None:
    """Tells the progress how many steps `walk` will ask for, by asking a plan first."""
    total = 0
    for step in steps:
        work = replace(step.env.work, refuse=False)  # A plan has nothing to refuse.
        plan = Plan(step.folder, step.seed, step.env._replace(work=work))
        walk(plan)
        total += len(plan.planned)
    steps[0].env.progress.start(total)


def _check(config: Experiment, train_set: Dataset, test_set: Dataset) -> None:
    """Refuses at the start what the last step would refuse after hours."""
    mesh = devices.make_mesh(config.work.devices)
    check_network(config.network, train_set)
    for student in config.learners.values():
        check_network(student.network, train_set)
    sizes = _sizes(config, len(train_set.labels), len(test_set.labels))
    trainings = []
    for training in config.networks.values():
        if isinstance(training, Given):
            _check_given(training, train_set)
        else:
            trainings.append((training, "D"))
    trainings += [(one.train, one.name) for one in config.all_sets if one.train]
    if config.controls:
        trainings += [(one, "D") for one in config.controls.networks.values()]
        if config.controls.leakage:
            trainings.append((config.controls.leakage.linear, "D"))
    trainings += [
        (student.training, on)
        for student in config.learners.values()
        for on in config.lessons
    ]
    for training, on in trainings:
        if on in sizes:
            check_training(training, sizes[on], mesh)
        devices.check_batch(mesh, training.batch_size)
    if config.features:
        usefulness.check(config.features, test_set)
    if config.controls and config.controls.plane:
        classes = config.controls.plane.classes
        if max(classes) >= test_set.num_classes:
            raise ValueError(
                f"the plane is of classes {classes}; there are 0 .. "
                f"{test_set.num_classes - 1}."
            )


def _sizes(config: Experiment, train: int, test: int) -> dict[str, int]:
    """How many examples each set has, or at most, where its recipe tells its cost."""
    sizes = {"D": train, "test": test}
    for one in config.all_sets:
        if hasattr(one.recipe, "cost") and one.of in sizes:
            copies = getattr(one.recipe, "copies", 1)
            sizes[one.name] = copies * sizes[one.of]
    return sizes
