"""The main experiment: networks on D, the sets made with them, and what is asked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nrf.config.given import Given
from nrf.config.optional import AutoAttack, Closeness, Controls, Student, Tables
from nrf.config.parts import (
    Evaluation,
    Norm,
    Precision,
    Training,
    Work,
    check_epsilon,
    require,
    require_builder,
    require_counts,
    require_name,
    require_positive,
    require_precision,
    require_seeds,
    require_storage,
)
from nrf.config.sets import Set


@dataclass(frozen=True)
class Features:
    """How the units of the networks on D are measured (section 2).

    On evenly spaced test images; each unit is attacked by itself.
    """

    norm: Norm  # The ball of the perturbations: l2 or linf.
    epsilon: float  # Its radius.
    images: int  # Test images that units are measured on.
    steps: int = 20  # Of the attack on each unit.
    step_size: float = 0.125  # Of these steps, as a part of epsilon.
    useful: float = 0.1  # What rho must be above, with its interval.
    # Bounds for every perturbation, where networks have few layers and images few
    # pixels: see `nrf.features.certify`.
    certificate: Literal["linear", "intervals"] | None = None

    def __post_init__(self):
        check_epsilon(self.norm, self.epsilon)
        require_counts(self, "images", least=2)
        require_counts(self, "steps")
        require_positive(self, "step_size")
        require(0 <= self.useful <= 1, f"useful must be in 0 .. 1, got {self.useful}.")


@dataclass(frozen=True)
class Experiment:
    """The paper's main experiment (sections 3.1 and 3.2), as lists.

    `networks` are trained on D. `sets` are constructed in their order, each from a
    network on D or from sets before it, and a fresh network is trained on each.
    """

    name: str  # Of the experiment; said in the report.
    data: str  # "digits", "planted", a TFDS data set, or a folder.
    network: Any  # The architecture: a frozen dataclass with build(num_classes).
    # Trainings on D by the network's name, or networks that were trained elsewhere.
    networks: Mapping[str, Training | Given]
    sets: tuple[Set, ...]  # The constructed data sets, in their order.
    evaluation: Evaluation  # How all these networks are tested.
    # Learners of other kinds by name, "mlp_on_D_R" is the one called "mlp" on D_R; None
    # leaves one out.
    students: Mapping[str, Student | None] = field(default_factory=dict)
    features: Features | None = None  # Usefulness of the networks' units (section 2).
    tables: Tables | None = None  # The other rows of the paper's tables.
    controls: Controls | None = None  # What the paper's readers asked for.
    autoattack: AutoAttack | None = None  # The strongest attack, beside PGD.
    closeness: Closeness | None = None  # Of classes, beside the pushes.
    # Called with this config where the right accuracies are known: by network, a list
    # of {"epsilon": ..., "accuracy": ...}, for the report.
    answers: Callable[..., Any] | None = None
    seeds: tuple[int, ...] = (0,)  # Everything is repeated for each.
    data_note: str = ""  # Said in the report, e.g. which copy of the data this is.
    train_examples: int | None = None  # The first so many; None for all.
    test_examples: int | None = None  # The first so many; None for all.
    # The part of the training examples that networks are tested on instead of the test
    # examples, which should be looked at once; to choose settings by. 0 for none.
    validation: float = 0.0
    data_dir: str | None = None  # TFDS's own folder where it is not given.
    storage: Literal["float32", "float16"] = "float32"  # Of the constructed images.
    # Of products and convolutions of float32 numbers, as JAX names it. GPUs and TPUs
    # would take less by themselves; on CPUs all are the same. What a network computes
    # in bfloat16 stays so.
    precision: Precision = "float32"
    work: Work = field(default_factory=Work)  # What changes no result.

    def __post_init__(self):
        require_seeds(self.seeds)
        require_storage(self.storage)
        require_precision(self.precision)
        require_builder(self.network)
        require(
            0 <= self.validation < 1,
            f"validation must be in [0, 1), got {self.validation}.",
        )
        require(len(self.networks) > 0, "networks must have one training at least.")
        self._check_names()

    def _check_names(self) -> None:
        """Refuses names that are there twice, and those of what is not there."""
        networks: set[str] = set()
        datasets = {"D", "test"}
        taken = {*datasets, "relabelled", "second_test"}

        def take(name: str, into: set[str]) -> None:
            require(
                name not in taken,
                f"{name!r} is there already; names of networks and sets differ.",
            )
            require_name(name)
            taken.add(name)
            into.add(name)

        def need(there: set[str], names: Iterable[str], what: str) -> None:
            for name in names:
                require(
                    name in there,
                    f"{what} {name!r}, which is not there by then; there are "
                    f"{', '.join(sorted(there))}.",
                )

        for trainings, sets in self._groups:
            for name in trainings:
                take(name, networks)
            for one in sets:
                need(datasets, [one.of], f"{one.name} is made of")
                need(networks | datasets, one.sources, f"{one.name} is made with")
                take(one.name, datasets)
            for one in sets:
                if one.train:
                    take(f"on_{one.name}", networks)
            if self.tables and sets is self.tables.sets:
                self.tables.check_names(networks, datasets, need)
        if self.controls:
            need(networks, self.controls.asked[0], "controls ask")
            need(datasets, self.controls.asked[1], "controls ask for the labels of")
            if self.controls.leakage:
                after = self.controls.leakage.after
                need(datasets, after, "leakage is measured after")
        for name in self.learners:
            for on in self.lessons:
                take(f"{name}_on_{on}", networks)

    @property
    def _groups(self) -> list[tuple[Mapping[str, Any], tuple[Set, ...]]]:
        """Networks on D with the sets made after them, in the order of the run."""
        groups: list = [(self.networks, self.sets)]
        if self.tables:
            groups.append(({}, self.tables.sets))
        if self.controls:
            groups.append((self.controls.networks, self.controls.sets))
        return groups

    @property
    def learners(self) -> dict[str, Student]:
        """The students that are not left out."""
        return {name: one for name, one in self.students.items() if one}

    @property
    def lessons(self) -> tuple[str, ...]:
        """The data sets that every student learns: D, and the figure's."""
        return ("D", *(one.name for one in self.sets if one.train))

    @property
    def all_sets(self) -> tuple[Set, ...]:
        """Those of the figure, of the tables and of the controls."""
        return tuple(one for _, sets in self._groups for one in sets)

    def tested(self, on: str) -> Evaluation:
        """How networks trained on the set `on` are tested; some without attack."""
        plain = any(one.name == on and not one.attacked for one in self.all_sets)
        return self.evaluation.at() if plain else self.evaluation

    @property
    def reported_epsilon(self) -> float | None:
        """The radius tested that is nearest to half that of adversarial training.

        The paper judges D_R there; None where nothing is tested under attack.
        """
        attacks = [t.attack for t in self.networks.values() if t.attack]
        half = attacks[0].epsilon / 2 if attacks else 0
        tested = self.evaluation.epsilons
        return min(tested, key=lambda e: abs(e - half)) if tested else None
