"""What the scripts that run a config share: options, words for errors, progress."""

import contextlib
import dataclasses
import runpy
import sys
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tqdm import tqdm

T = TypeVar("T")


def parse(kind: type[T], script: str) -> tuple[T, Path]:
    """The config of the command line, changed by its options, and the folder --out.

    Ends the program, in words, where there is no such config or option.
    """
    path = "".join(word for word in sys.argv[1:2] if not word.startswith("-"))
    if not Path(path).is_file():
        known = " ".join(sorted(map(str, Path("configs").glob("*.py"))))
        sys.exit(f"usage: python {script} CONFIG --out DIR; configs: {known}")
    default = runpy.run_path(path).get("config")
    if not isinstance(default, kind):
        sys.exit(
            f"{path} is not for {script}, which needs a config of type "
            f"{kind.__name__}; how to run a config is said at its top."
        )
    fields: Any = vars(default)
    out = [("out", Path, dataclasses.field(kw_only=True))]
    run: Any = dataclasses.make_dataclass("Run", out, bases=(kind,), frozen=True)
    asked = vars(
        tyro.cli(
            run,
            default=run(**fields, out=tyro.MISSING),
            prog=f"{script} {path}",
            args=sys.argv[2:],
            config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
        )
    )
    return kind(**{name: asked[name] for name in fields}), asked["out"]


@contextlib.contextmanager
def bar(stage: str, examples: int):
    """A stage's progress bar, as `nrf.experiments.seeds.Progress`."""
    with tqdm(desc=stage, total=examples, unit=" images", unit_scale=True) as shown:
        yield shown.update
