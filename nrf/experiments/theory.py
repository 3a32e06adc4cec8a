"""The paper's section 4, from a config to every number of its page.

Closed forms beside what is computed without them: by Monte Carlo, by convex
optimisation and by gradient from samples; and two ellipses, on which networks are
trained.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nrf.config import Theory
from nrf.experiments import ellipses, theorems
from nrf.experiments import theory_parts as parts
from nrf.experiments.prepare import announce, at_precision, check_folder, seed_steps
from nrf.runs import Made, Progress, Steps, store
from nrf.runs.progress import combine
from nrf.runs.provenance import header


@at_precision
def run(
    config: Theory,
    out: Path | str,
    *,
    progress: Progress | None = None,
    on_metrics: Any = None,
    reuse: Sequence[Path | str] = (),
    command: str = "",
) -> dict[str, Any]:
    """Makes what is not yet in the folder `out`; saves and returns the results.

    Raises:
      ValueError: the ellipses' batches do not fit their examples or the devices; or a
        step was made with other settings.
      OSError: before any work, if `out` cannot be written.
      FloatingPointError: a training diverged.
    """
    out = Path(out)
    check_folder(out, "theory.json", (config.seed,))
    (step,) = all_steps = seed_steps(
        config,
        out,
        (config.seed,),
        progress=combine(progress, on_metrics),
        reuse=reuse,
    )
    announce(all_steps, lambda step: parts_of(config, step))
    results: dict[str, Any] = {**header(config, command), **parts_of(config, step)}
    results["seconds"] = step.seconds()
    store.write(out / "theory.json", json.dumps(results).encode())
    return results


def parts_of(config: Theory, step: Steps) -> dict[str, Any]:
    """All of theory.json that is computed."""
    # First what could be refused.
    computed = {"ellipses": ellipses.run(config.ellipses, step)}
    for made in steps(config, step):
        computed |= made.value
    return computed


def steps(config: Theory, step: Steps) -> Iterator[Made]:
    """A step for each part of theory.json."""
    problem = config.mean, config.variances
    yield step(
        "figure",
        parts.figure,
        problem=problem,
        samples=config.samples,
        panels=config.panels,
        radius=config.radius,
    )
    yield step("curve", parts.curve, problem=problem, samples=config.samples)
    yield step(
        "fits",
        parts.fits,
        problem=problem,
        samples=config.fit_samples,
        radii=config.fit_epsilons,
        maximisers=config.pgd,
    )
    yield step(
        "dimensions",
        parts.dimensions,
        sizes=config.dimensions,
        samples=config.dimension_samples,
    )
    yield step(
        "vulnerability",
        theorems.vulnerability,
        eigenvalues=config.eigenvalues,
        penalty=config.penalty,
        samples=config.draws,
    )
    yield step(
        "alignment",
        theorems.alignment,
        spectrum=config.spectrum,
        problems=config.problems,
    )
    yield step("tradeoff", parts.tradeoff, problem=problem)
