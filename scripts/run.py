"""Runs an experiment: python scripts/run.py configs/digits.py --out runs/digits

Every field of the config is an option: --seeds 0 --robust.attack.epsilon 0.5. A run
that was stopped goes on after its last finished stage.
"""

import contextlib
import dataclasses
import runpy
import shlex
import sys
from pathlib import Path

import tyro
from tqdm import tqdm

from nrf.config import Experiment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Experiment):
    out: Path  # Where results go.


def main() -> None:
    path = "".join(word for word in sys.argv[1:2] if not word.startswith("-"))
    if not Path(path).is_file():
        known = " ".join(sorted(map(str, Path("configs").glob("*.py"))))
        sys.exit(f"usage: python scripts/run.py CONFIG --out DIR; configs: {known}")
    fields = vars(runpy.run_path(path)["config"])
    asked = vars(
        tyro.cli(
            Run,
            default=Run(**fields, out=tyro.MISSING),
            prog=f"scripts/run.py {path}",
            args=sys.argv[2:],
            config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
        )
    )
    out, config = asked["out"], Experiment(**{name: asked[name] for name in fields})

    from nrf import devices, experiment, report  # JAX starts after options are right.

    devices.cache_programs()
    command = shlex.join(["python", *sys.argv])
    try:
        results = experiment.run(config, out, progress=_bar, command=command)
        page = report.write(out)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
    print(f"\n{report.table(results)}\n{page}")


@contextlib.contextmanager
def _bar(stage: str, examples: int):
    with tqdm(desc=stage, total=examples, unit=" images", unit_scale=True) as bar:
        yield bar.update


if __name__ == "__main__":
    main()
