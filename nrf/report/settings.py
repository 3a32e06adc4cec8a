"""All settings of a run beside those of the paper's CIFAR-10 experiment.

What the paper says of its own is here in full (sections 3.1 and 3.2, appendix C; where
it has none but "standard" parameters, those of the authors' library). Every field of a
run's config is compared; a field that nobody foresaw is told as a difference.
"""

from collections.abc import Iterator
from typing import Any

from nrf.report.results import Results

Settings = dict[str, Any]
UNSAID = object()  # Neither the paper nor the library says it.

# Table 3 and appendix C.2.
_TRAINING: Settings = {
    "epochs": UNSAID,
    "batch_size": 128,
    "learning_rate": 0.1,
    "schedule": "steps",
    "drops": "one, by a factor of 10",
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 5e-4,
    "pad": 4,
    "flip": True,
    "jitter": 0.25,
    "rotation": 2,
    "attack": None,
    "objective": None,
    "holdout": 0.0,  # Appendix D.4: the last epoch counts.
}
# Appendices C.3 and C.5: from the image itself.
_PGD: Settings = {
    "norm": "l2",
    "epsilon": 0.5,
    "random_start": False,
    "restarts": 1,
    "keep_best": UNSAID,
}
_PUSH = {**_PGD, "steps": 100, "step_size": 0.1}
_MATCH: Settings = {  # Appendix C.4.
    "kind": "Match",
    "steps": 1000,
    "step_size": 0.1,
    "start": "image",
    "identity_relu": UNSAID,
    "copies": 1,
    "distance": None,
}


def _set(recipe: Settings, source: str, **training: Any) -> Settings:
    train = {**_TRAINING, **training}
    return {"recipe": recipe, "source": source, "of": "D", "train": train}


def _mislabel(to: str) -> Settings:
    return {"kind": "Mislabel", "attack": _PUSH, "to": to, "identity_relu": UNSAID}


PAPER: Settings = {
    "train_examples": None,
    "test_examples": None,
    "storage": UNSAID,
    "precision": UNSAID,
    "network": {
        "kind": "ResNet50",
        "width": 64,
        "dtype": "float32",
        "mean": [0.4914, 0.4822, 0.4465],
        "std": [0.2023, 0.1994, 0.2010],
    },
    "networks": {
        "standard": _TRAINING,
        "robust": {**_TRAINING, "attack": {**_PGD, "steps": 7, "step_size": 0.1}},
    },
    "sets": {
        "D_R": _set(_MATCH, "robust"),
        "D_NR": _set(_MATCH, "standard"),
        "D_rand": _set(_mislabel("random"), "standard", learning_rate=0.01),
        "D_det": _set(
            _mislabel("next"), "standard", pad=0, flip=False, jitter=0, rotation=0
        ),
    },
    "evaluation": {
        "norm": "l2",
        "epsilons": [0.25, 0.5],
        "steps": UNSAID,
        "crossings": UNSAID,
        "restarts": UNSAID,
        "loss": UNSAID,
        "queries": UNSAID,
        "thorough": UNSAID,
    },
}
# What is measured beside, and what changes no number of the six networks.
_BESIDE = (
    "kind name data data_dir data_note seeds work features tables controls autoattack "
    "students closeness"
).split()
_OFF: tuple[Any, ...] = (None, False, 0, "", [], {})
_NOTHING = object()


def compared(results: Results) -> tuple[list[str], list[str]]:
    """What differs from the paper, and what it does not say; a phrase for each."""
    ours = _arranged(results.get("config") or {})
    run, paper = dict(_leaves(ours)), dict(_leaves(_made_here(PAPER, ours)))
    differs: dict[tuple[str, str, str], list[str]] = {}
    unsaid: dict[tuple[str, str, str], list[str]] = {}
    for path in {**paper, **run}:
        here, theirs = run.get(path, _NOTHING), paper.get(path, _NOTHING)
        where, field = _place(path)
        if theirs is UNSAID:
            if here is not _NOTHING:
                unsaid.setdefault((field, _words(here), ""), []).append(where)
        elif (theirs is _NOTHING and here in _OFF) or (
            here is _NOTHING and theirs is None
        ):
            continue
        elif here != theirs:
            key = field, _words(here), f" (paper: {_words(theirs)})"
            differs.setdefault(key, []).append(where)
    return _phrases(differs), _phrases(unsaid)


def _arranged(config: Settings) -> Settings:
    """A config with its sets by name, without what has no part in the comparison."""
    kept = {name: value for name, value in config.items() if name not in _BESIDE}
    sets = {one["name"]: one for one in config.get("sets") or []}
    kept["sets"] = {
        name: {k: v for k, v in one.items() if k in ("recipe", "source", "of", "train")}
        for name, one in sets.items()
        if name in PAPER["sets"]
    }
    networks = config.get("networks") or {}
    kept["networks"] = {k: v for k, v in networks.items() if k in PAPER["networks"]}
    return kept


def _made_here(paper: Settings, ours: Settings) -> Settings:
    """The paper's settings of those networks and sets that the run has."""
    groups = ("networks", "sets")
    return paper | {
        group: {k: v for k, v in paper[group].items() if k in ours[group]}
        for group in groups
    }


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple, Any]]:
    """Every setting with its path; classes by their names, without their modules."""
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for name, part in value.items():
        if name == "kind":
            if not part.startswith("nrf.config."):  # These are of one kind each.
                yield (*path, name), part.rpartition(".")[2]
        # Drops are of one schedule, the warm-up of the others.
        elif name != ("warmup" if value.get("schedule") == "steps" else "drops"):
            yield from _leaves(part, (*path, name))


def _place(path: tuple[str, ...]) -> tuple[str, str]:
    """Which network or set a setting is of, if of any, and what it is called."""
    if path[0] not in ("networks", "sets") or len(path) < 3:  # There may be none.
        return "", ".".join(path)
    rest = path[2:]
    # Of a set's network, as of a network on D.
    where, rest = (f"on_{path[1]}", rest[1:]) if rest[0] == "train" else (path[1], rest)
    return where, ".".join(rest)


def _phrases(found: dict[tuple[str, str, str], list[str]]) -> list[str]:
    phrases = []
    for (field, here, theirs), places in found.items():
        of = f" of {', '.join(places)}" if any(places) else ""
        phrases.append(f"{field}{of}: {here}{theirs}")
    return phrases


def _words(value: Any) -> str:
    if value is _NOTHING:
        return "not there"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    if isinstance(value, dict):
        return value.get("function") or value.get("kind") or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
