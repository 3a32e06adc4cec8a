"""What a step came to, in a few words."""

from typing import Any

from nrf.runs.formats import Constructed, Trained


def summary(value: Any) -> str:
    """Of a value that a step made: its last accuracies, its size, what was measured."""
    if isinstance(value, Trained):
        numbers = value.history[-1] if value.history else {}
        return _words({k: v for k, v in numbers.items() if k != "epoch"})
    if isinstance(value, Constructed):
        measured = {k: v for k, v in value.provenance.items() if isinstance(v, float)}
        return ", ".join(
            filter(None, (f"{len(value.labels)} images", _words(measured)))
        )
    if isinstance(value, dict) and {"correct", "total"} <= value.keys():
        share = f"{100 * value['correct'] / value['total']:.1f} %"
        return f"{share} of {value['total']} images right"
    return ""


def _words(numbers: dict[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.3g}" for name, value in numbers.items()
    )
