"""The paper's section 4, from a config to every number of its page.

Closed forms beside what is found without them: by Monte Carlo, by convex optimisation
and by gradient from samples. In double precision, but for the two ellipses, on which
networks are trained as everywhere else.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nrf import devices
from nrf.config import Theory
from nrf.experiments import ellipses
from nrf.experiments.theory_parts import PARTS, Part
from nrf.runs import store
from nrf.types import Key


def run(
    config: Theory,
    out: Path,
    *,
    progress: Callable[[tuple], Iterable] = iter,
    command: str = "",
) -> Part:
    """Runs every part; saves theory.json in the folder `out` and returns its content.

    `progress` goes through the parts in their order, as tqdm does.

    Raises:
      ValueError: the ellipses' batches do not fit their examples or the devices.
      OSError: before any work, if `out` cannot be written.
      FloatingPointError: a training diverged.
    """
    store.check_writable(out)
    mesh = devices.make_mesh()
    results: Part = {
        "name": config.name,
        "config": dataclasses.asdict(config),
        **store.origin(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "seconds": {},
    }

    def networks(config: Theory, key: Key) -> Part:
        return {"ellipses": ellipses.run(config.ellipses, config.seed, mesh)}

    # First what could be refused.
    for part in progress((networks, *PARTS)):
        start = time.time()
        with jax.enable_x64(part is not networks):
            made = part(config, store.key_for(config.seed, part.__name__))
        results |= jax.tree.map(_plain, made)
        results["seconds"][part.__name__] = round(time.time() - start, 2)
    store.write(out / "theory.json", json.dumps(results).encode())
    return results


def _plain(leaf: Any) -> Any:
    """An array as the lists and numbers of JSON."""
    return leaf if isinstance(leaf, str | None) else np.asarray(leaf).tolist()
