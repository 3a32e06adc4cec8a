"""What accelerators can do at most, as their makers say; for plans, never for results.

Nothing reaches these numbers. A plan assumes that a step takes as long as the slower of
two: its operations at `REACHED` of the peak, or its traffic at `CARRIED` of the
bandwidth of the memory. Both shares are assumptions.
"""

from collections.abc import Mapping
from typing import NamedTuple

REACHED, CARRIED = 0.36, 0.70


class Peak(NamedTuple):
    # A second, without sparsity, by what is multiplied.
    operations: Mapping[str, float]
    bandwidth: float  # Bytes a second.
    source: str


def _peak(
    float32: float, tensorfloat32: float, bfloat16: float, bandwidth: float, source: str
) -> Peak:
    """From TFLOP/s and TB/s."""
    of = {"float32": float32, "tensorfloat32": tensorfloat32, "bfloat16": bfloat16}
    return Peak({k: 1e12 * v for k, v in of.items()}, 1e12 * bandwidth, source)


ACCELERATORS = {
    "a100": _peak(
        19.5, 156, 312, 2.039, "https://www.nvidia.com/en-us/data-center/a100"
    ),
    "h100": _peak(
        67, 494.7, 989.4, 3.35, "https://www.nvidia.com/en-us/data-center/h100"
    ),
    "h200": _peak(
        67, 494.7, 989.4, 4.8, "https://www.nvidia.com/en-us/data-center/h200"
    ),
    # Of float32, XLA makes six products of bfloat16; three where fewer bits will do.
    "v5e": _peak(
        197 / 6, 197 / 3, 197, 0.819, "https://docs.cloud.google.com/tpu/docs/v5e"
    ),
}


def seconds(name: str, precision: str, operations: float, moved: float) -> float:
    """What so many operations, on so many bytes, would take there."""
    peak = ACCELERATORS[name]
    computing = operations / (REACHED * peak.operations[precision])
    return max(computing, moved / (CARRIED * peak.bandwidth))


def assumed(name: str) -> str:
    """What `seconds` stands on, in words."""
    peak = ACCELERATORS[name]
    rates = ", ".join(f"{v / 1e12:.0f} in {k}" for k, v in peak.operations.items())
    return (
        f"Predicted, not measured: {name} at {REACHED:.0%} of its peak ({rates} "
        f"TFLOP/s) or {CARRIED:.0%} of {peak.bandwidth / 1e12:.2f} TB/s, whichever is "
        f"slower ({peak.source}). Compilation comes on top."
    )
