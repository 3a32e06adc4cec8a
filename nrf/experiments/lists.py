"""What results say of an experiment's lists: names, titles, texts, pictures."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nrf import features
from nrf.config import Experiment, Given, Set, Training
from nrf.experiments import students
from nrf.runs import Steps, Trained, key_for, store
from nrf.types import Dataset

Row = dict[str, Any]


def described(config: Experiment) -> dict[str, list[Row]]:
    """The networks and sets in order, as reports call them."""
    tables, controls = config.tables, config.controls
    groups: tuple[tuple[str, Mapping[str, Training | Given], Sequence[Set]], ...] = (
        ("main", config.networks, config.sets),
        ("tables", {}, tables.sets if tables else ()),
        (
            "controls",
            controls.networks if controls else {},
            controls.sets if controls else (),
        ),
    )
    networks: list[Row] = []
    sets: list[Row] = []
    for group, trainings, members in groups:
        for name, training in trainings.items():
            # The paper's word for the robust network of its figure.
            title = f"D, {'adversarial' if name == 'robust' else name}"
            text = f"As in {training.run}." if isinstance(training, Given) else ""
            networks.append(_network(name, title, "D", training, group, text))
        for one in members:
            title, text = one.title or one.name, one.text or _first_line(one.recipe)
            sets.append(
                {
                    "name": one.name,
                    "title": title,
                    "group": group,
                    "of": one.of,
                    "source": list(one.sources),
                    "text": text,
                }
            )
            if one.train:
                network = f"on_{one.name}"
                networks.append(
                    _network(network, title, one.name, one.train, group, text)
                )
    networks += students.described(config, sets)
    return {"networks": networks, "sets": sets}


def _network(
    name: str,
    title: str,
    trained_on: str,
    training: Training | Given,
    group: str,
    text: str,
) -> Row:
    return {
        "name": name,
        "title": title,
        "trained_on": trained_on,
        "training": "adversarial" if training.attack else "standard",
        "group": group,
        "text": text,
    }


def _first_line(recipe: Callable) -> str:
    # Of a function, or of the class of a recipe with settings.
    code = recipe if hasattr(recipe, "__name__") else type(recipe)
    return (code.__doc__ or "").strip().partition("\n")[0]


def recorded(config: Experiment, steps: Sequence[Steps]) -> dict[str, Any]:
    """What every seed's steps tell of themselves: sets, seconds, histories."""
    return {
        "constructed": [
            step.made[one.name].value.provenance
            for step in steps
            for one in config.all_sets
        ],
        "seconds": {k: v for step in steps for k, v in step.seconds().items()},
        "history": histories(steps),
    }


def histories(steps: Sequence[Steps]) -> dict[str, list[Row]]:
    """Of every training, by "seed0/name"."""
    return {
        f"{step.folder.name}/{name}": made.value.history
        for step in steps
        for name, made in step.made.items()
        if isinstance(made.value, Trained)
    }


def save(
    config: Experiment,
    out: Path,
    results: Mapping[str, Any],
    dataset: Dataset,
    step: Steps,
) -> None:
    """Writes pictures.npz, features.csv and, last, results.json."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **pictures(config.sets, dataset, step))
    store.write(out / "pictures.npz", buffer.getvalue())
    if results["features"]:
        table = features.table(results["features"])
        store.write(out / "features.csv", table.encode())
    store.write(out / "results.json", json.dumps(results, indent=1).encode())


def pictures(
    sets: Sequence[Set], dataset: Dataset, step: Steps, count: int = 10
) -> dict[str, np.ndarray]:
    """The first image of each class, and what became of it in every set of D.

    Beside a set whose recipe begins elsewhere (it has `starts`), the beginnings too.
    """
    labels = dataset.labels
    present = [k for k in range(dataset.num_classes) if (labels == k).any()]
    # Fewer than `count` classes are shown several times each.
    nth = -(-count // len(present))
    chosen = np.stack([np.resize(np.flatnonzero(labels == k), nth) for k in present])
    chosen = chosen.T.ravel()[:count]
    shown = {"D": dataset.images[chosen], "D_labels": labels[chosen]}
    for one in sets:
        value = step.made[one.name].value
        if one.of != "D" or not np.isin(chosen, value.indices).all():
            continue  # A set that leaves images out has nothing to show beside them.
        where = [int(np.argmax(value.indices == i)) for i in chosen]
        shown[one.name] = value.images[where].astype(np.float32)
        shown[f"{one.name}_labels"] = value.labels[where]
        if hasattr(one.recipe, "starts"):
            starts = one.recipe.starts(key_for(step.seed, one.name), dataset)
            shown[f"{one.name}_start"] = starts[where]
    return shown
