"""Networks and sets of a run, for others, with their cards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nrf.exchange.cards import network_card, set_card
from nrf.exchange.weights import OWN, save_weights
from nrf.exchange.writers import write_set
from nrf.experiments.verify import weights_digest
from nrf.runs import Run, store

_OWN_USE = """from nrf import exchange

weights = exchange.load_weights("{file}", "nrf")
logits = weights.network(x)"""
_THEIR_USE = """from safetensors.torch import load_file

state = load_file("{file}")  # By the names of {layout}."""


def export_network(
    run: Run,
    name: str,
    to: Path | str,
    *,
    layout: str = OWN,
    seed: int | None = None,
    certificate: Mapping[str, Any] | None = None,
) -> tuple[Path, Path]:
    """Writes a network of a run as .safetensors, and its card beside it as .md.

    Raises:
      ValueError: as `save_weights`; the run has no such network, a file is there, or
        the certificate is of other weights.
      OSError: a file cannot be written.
    """
    to, seed = Path(to), run.seeds[0] if seed is None else seed
    card = to.with_suffix(".md")
    for file in (to, card):
        if file.exists():
            raise ValueError(f"{file} is there already; choose another name.")
    weights = run.weights(name, seed=seed)
    if certificate and certificate["weights"] != weights_digest(weights.params):
        raise ValueError(
            f"the certificate is of other weights than those of {name}, seed {seed}; "
            "it would say nothing of them."
        )
    use = _OWN_USE if layout == OWN else _THEIR_USE
    use = use.format(file=to.name, layout=layout)
    text = network_card(run, name, seed, use, certificate)
    store.check_writable(to.parent)
    to.parent.mkdir(parents=True, exist_ok=True)
    return save_weights(to, weights, layout), store.write(card, text.encode())


def export_set(
    run: Run, name: str, to: Path | str, format: str, *, seed: int | None = None
) -> Path:
    """Writes a set of a run as `write_set`, with its card; it raises what that raises.

    Raises:
      ValueError: the run has no such set, too.
    """
    number = run.seeds[0] if seed is None else seed
    made = run.set(name, seed=number)

    def card(text: str) -> str:
        return set_card(run, name, number, text, format == "parquet")

    return write_set(to, made, format, card)
