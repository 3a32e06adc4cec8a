"""The paper's main experiment, from a config to the rows of its figure.

For every seed: networks on D; sets made with them; a fresh network on each set; and the
accuracies of all on untouched test images, each with its evidence.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nrf.config import Experiment, Given, Set
from nrf.experiments import (
    autoattack,
    closeness,
    controls,
    lists,
    students,
    tables,
    usefulness,
)
from nrf.experiments.networks import fit, score, trained
from nrf.experiments.prepare import (
    announce,
    at_precision,
    check_sources,
    data_name,
    prepare,
    seed_steps,
    weights_of,
)
from nrf.experiments.recipes import construct
from nrf.runs import Made, Progress, Steps, Trained
from nrf.runs.progress import combine
from nrf.runs.provenance import header
from nrf.runs.steps import given

Results = dict[str, Any]


@at_precision
def run(
    config: Experiment,
    out: Path | str,
    *,
    data: Any = None,
    sources: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    on_metrics: Any = None,
    reuse: Sequence[Path | str] = (),
    command: str = "",
) -> Results:
    """Makes what is not yet in the folder `out`; saves and returns the results.

    Args:
      config: Of the experiment.
      out: The run's folder.
      data: (train, test), as `nrf.data.load` takes them, instead of the config's.
      sources: Parameters of networks on D by name, to be used instead of a training.
      progress: Is told of steps, examples and metrics.
      on_metrics: Called as on_metrics(step, {"loss": ...}).
      reuse: Folders of other runs, whose equal steps are copied.
      command: Said in the results.

    Raises:
      ValueError: before any work, if the data, devices or folder do not fit the
        config; before a step, if it was made with other settings.
      OSError: `out` cannot be written.
      FloatingPointError: a training diverged; what is finished stays.
    """
    out = Path(out)
    sets, sources = prepare(config, out, data), sources or {}
    check_sources(config, sources, sets["D"].value)
    steps = seed_steps(
        config,
        out,
        config.seeds,
        data=data_name(config, data),
        progress=combine(progress, on_metrics),
        reuse=reuse,
    )
    announce(steps, lambda step: one_seed(config, step, sets, sources))
    seeds = [one_seed(config, step, sets, sources) for step in steps]
    results = {
        **header(config, command),
        "data": data_name(config, data) or "arrays",
        "data_note": note(config),
        "classes": list(sets["D"].value.names),
        "reported_epsilon": config.reported_epsilon,
        "answers": config.answers(config) if config.answers else None,
        **lists.described(config),
        **lists.recorded(config, steps),
        **{
            part: [entry for parts in seeds for entry in parts.get(part, [])]
            for part in PARTS
        },
    }
    lists.save(config, out, results, sets["D"].value, steps[0])
    return results


def note(config: Experiment) -> str:
    """What reports say of the data."""
    if not config.validation:
        return config.data_note
    part = f"tested on {100 * config.validation:g} % of the training images"
    return f"{config.data_note}; {part}" if config.data_note else part


PARTS = (
    "rows",
    "students",
    "features",
    "tables",
    "controls",
    "asked",
    "leakage",
    "plane",
    "autoattack",
    "closeness",
)


def one_seed(
    config: Experiment, step: Steps, sets: Mapping[str, Made], sources: Mapping
) -> dict[str, list]:
    """All steps of one seed; what was measured, by the names in PARTS."""
    made = dict(sets)
    train_on_D(config, step, made, config.networks, sources)
    make_sets(config, step, made, config.sets)
    count = len(sets["test"].value.labels)
    networks = figure(config)
    parts: dict[str, list] = {"rows": []}
    for name, on in networks.items():
        how = config.tested(on)
        parts["rows"] += score(step, made[name], made["test"], how, count=count)
    if config.learners:
        parts["students"] = students.run(config, step, made)
        networks |= {name: on for name, _, on in students.pairs(config)}
    if config.features:
        parts["features"] = usefulness.run(config, step, made)
    if config.tables:
        make_sets(config, step, made, config.tables.sets)
        parts["tables"] = tables.run(config, step, made, figure(config))
    if config.controls:
        train_on_D(config, step, made, config.controls.networks, {})
        make_sets(config, step, made, config.controls.sets)
        parts |= controls.run(config, step, made)
    if config.autoattack:
        attacked = [name for name, on in networks.items() if config.tested(on).epsilons]
        parts["autoattack"] = autoattack.run(config, step, made, attacked)
    if config.closeness:
        parts["closeness"] = [closeness.run(config, step, made, config.closeness)]
    known = {entry["name"]: entry for entry in lists.described(config)["networks"]}
    for part in ("rows", "students", "tables", "controls", "autoattack"):
        for row in parts.get(part, []):
            entry = known[row["network"]]
            row |= {k: entry[k] for k in ("trained_on", "training")}
            row["seed"] = step.seed
    return parts


def train_on_D(
    config: Experiment,
    step: Steps,
    made: dict[str, Made],
    networks: Mapping[str, Any],
    sources: Mapping[str, Any],
) -> None:
    """Adds the networks on D to `made`: trained, of `sources`, or given."""
    D, classes = made["D"], made["D"].value.num_classes
    for name, training in networks.items():
        architecture = config.network
        if name in sources:
            one = given(name, Trained(sources[name], []))
        elif isinstance(training, Given):
            weights = weights_of(training)
            one = given(name, Trained(weights.params, []))
            architecture = weights.architecture
        else:
            one = step(
                name, fit, D, made["test"], network=config.network, training=training
            )
        made[name] = trained(one, architecture, classes)


def make_sets(
    config: Experiment, step: Steps, made: dict[str, Made], sets: Sequence[Set]
) -> None:
    """Adds the sets to `made`, and the fresh network that is trained on each."""
    classes = made["D"].value.num_classes
    for one in sets:
        made[one.name] = step(
            one.name,
            construct,
            made[one.of],
            *(made[name] for name in one.sources),
            recipe=one.recipe,
            storage=config.storage,
        )
    for one in sets:
        if one.train:
            name = f"on_{one.name}"
            fitted = step(
                name,
                fit,
                made[one.name],
                made["test"],
                network=config.network,
                training=one.train,
            )
            made[name] = trained(fitted, config.network, classes)


def figure(config: Experiment) -> dict[str, str]:
    """The networks of the experiment's figure, in order, and what they learned."""
    learned = {f"on_{one.name}": one.name for one in config.sets if one.train}
    return {**dict.fromkeys(config.networks, "D"), **learned}
