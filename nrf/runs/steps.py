"""The mechanism of every experiment: pure functions, each called once.

    step = Steps(out / "seed0", seed=0, env=env)
    robust = step("robust", fit, D, test, network=config.network, training=training)

calls `fit(key, D, test, network=..., training=..., env=env)` the first time, and loads
its value ever after. The manifest is taken from the call: the function's name, the
digests of the inputs, the settings. `env` changes no result and is no part of it. The
key comes from the seed and the step's name, so that adding a step moves no other.

Where a run is several processes, all make every step together; the first one decides
whether it is there, saves it, and the others load it from the folder that they share.
"""

import contextlib
import json
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from nrf import devices, folders, hosts, rows
from nrf.config import Work
from nrf.config.parts import require_seeds
from nrf.runs import manifest, store
from nrf.runs.checkpoints import Checkpoints
from nrf.runs.formats import Constructed
from nrf.runs.progress import Progress
from nrf.runs.provenance import describe
from nrf.runs.shards import Shards
from nrf.runs.summary import summary
from nrf.types import KEYS, Dataset, Key


class Cost(NamedTuple):
    """What a step takes, known before it is made."""

    examples: int  # As many as `Env.tick` is called with.
    passes: int  # Images passed forward and back through a network.


def costs(tell: Callable[..., Cost | None]) -> Callable:
    """A decorator: tell(*inputs, **settings) is what a call of the step will take."""

    def attach(step: Any) -> Any:
        step.cost = tell
        return step

    return attach


class Env(NamedTuple):
    """How a run works: nothing here changes a result, up to rounding."""

    mesh: Mesh
    work: Work = Work()
    progress: Progress = Progress()
    step: str = ""  # The step in progress, "seed0/D_R",
    inputs: tuple[str, ...] = ()  # and the names of what it is made of.
    # A folder of the step's own, which outlives a killed process and belongs to one
    # manifest; it is removed when the step is complete.
    scratch: Path | None = None
    checkpoints: Checkpoints | None = None  # What is kept there of trainings,
    shards: Shards | None = None  # and of maps over examples.
    # What constructed sets tell their readers beside their settings.
    origin: Mapping[str, Any] = {}

    def tick(self, examples: int) -> None:
        """To be called with the number of newly finished examples."""
        self.progress.advance(self.step, examples)

    def metrics(self, values: dict[str, Any]) -> None:
        """To be called with numbers that somebody may want to watch."""
        self.progress.metrics(self.step, values)


def local(work: Work | None = None, **options: Any) -> Env:
    """The environment of this machine, for recipes that are called by themselves.

    Raises:
      ValueError: under settings of JAX that would draw other random numbers, or where
        there are fewer devices.
    """
    devices.check_settings()
    work = work or Work()
    return Env(devices.make_mesh(work.devices), work, **options)


class Made(NamedTuple):
    """A value with its name and the digest of its content: an input of steps."""

    name: str
    value: Any
    digest: str


def given(name: str, value: Any) -> Made:
    """A value that no step made, such as a data set or somebody's parameters."""
    plain = tuple(value) if isinstance(value, Dataset) else value
    return Made(name, value, manifest.content(plain))


def key_for(seed: int, name: str) -> Key:
    """The key of the step `name`: adding a step moves the key of no other.

    Of JAX's default kind, whatever the default is set to here.

    Raises:
      ValueError: a seed of more than 32 bits, of which JAX would keep the lower ones.
    """
    require_seeds((seed,))
    key = jax.random.key(seed, impl=KEYS)
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


class Steps:
    """The steps of one seed, in its folder; `made` has the value of each by its name.

    `reuse` are folders like this one: a step that one of them holds, made of the same
    by the same, is copied.

    Raises:
      ValueError: under settings of JAX that would draw other random numbers.
    """

    def __init__(
        self, folder: Path, seed: int, env: Env, *, reuse: Sequence[Path] = ()
    ):
        devices.check_settings()
        self.folder, self.seed, self.env = Path(folder), seed, env
        self.reuse = reuse
        self.made: dict[str, Made] = {}

    def __call__(
        self, name: str, f: Any, *inputs: Made, draws: str | None = None, **settings
    ) -> Made:
        """The value of f(key, *inputs, **settings, env=env), made once.

        Args:
          name: Of the step: its folder, and what its key is derived from.
          f: A function, or a frozen dataclass with `__call__`; f.cost(*inputs,
            **settings) tells its `Cost`, where it has that.
          inputs: By their content; constructed sets are given as data sets.
          draws: The name that the key is derived from instead, where several steps
            are to draw the same random numbers.
          settings: Numbers, words, functions, and dataclasses of these.

        Raises:
          ValueError: the folder was made by something else, or of something else.
          OSError: it cannot be written.
        """
        about = self._about(name, f, inputs, draws, settings)
        path, others = self.folder / name, [folder / name for folder in self.reuse]
        # Process 0 decides for all: others may see its files a moment later.
        if hosts.together(lambda: path.exists() or store.copy_one(path, about, others)):
            hosts.see(path)
            value = store.load(path, about)
            self.env.progress.skip(self._label(name))
            self._remove(self._scratch(name))
        else:
            store.check_writable(self.folder)
            with self._kept(name, about) as env:
                key = key_for(self.seed, draws or name)
                value = self._make(path, f, key, inputs, settings, env, about)
        self.made[name] = Made(name, value, manifest.digest(path))
        return self.made[name]

    def _make(
        self,
        path: Path,
        f: Any,
        key: Key,
        inputs: Sequence[Made],
        settings: dict[str, Any],
        env: Env,
        about: dict[str, Any],
    ) -> Any:
        """The value, made by all processes and saved by the first one."""
        start = time.time()
        values = [as_input(one.value) for one in inputs]
        cost = cost_of(f, values, settings)
        env.progress.begin(env.step, cost.examples if cost else None)
        with env.shards or contextlib.nullcontext():
            value = f(key, *values, env=env, **settings)
        seconds = round(time.time() - start, 3)
        # Nobody needs the scratch folder any more.
        hosts.barrier(env.step)
        saved: list[Any] = []
        hosts.together(
            lambda: saved.append(store.save(path, value, about, seconds=seconds))
        )
        if not saved:
            hosts.see(path)
            saved.append(store.load(path, about))
        env.progress.end(env.step, seconds, summary(saved[0]))
        return saved[0]

    def seconds(self) -> dict[str, float]:
        """What each step took, by "seed0/name"."""
        return {
            f"{self.folder.name}/{name}": manifest.read(self.folder / name)["seconds"]
            for name in self.made
        }

    def _about(
        self,
        name: str,
        f: Any,
        inputs: Sequence[Made],
        draws: str | None,
        settings: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What the manifest of such a call says."""
        if len({one.name for one in inputs}) < len(inputs):
            names = ", ".join(one.name for one in inputs)
            raise ValueError(
                f"{name} is made from {names}; inputs need names that differ."
            )
        about = {
            "step": name,
            "seed": self.seed,
            "by": describe(f),
            "inputs": {one.name: one.digest for one in inputs},
            "settings": describe(settings),
        }
        if draws:
            about["draws"] = draws
        return json.loads(json.dumps(about))  # As it is read back: tuples are lists.

    def _label(self, name: str) -> str:
        return f"{self.folder.name}/{name}"

    def _scratch(self, name: str) -> Path:
        return self.folder / f".{name}.scratch"

    def _remove(self, scratch: Path) -> None:
        if hosts.first():
            shutil.rmtree(scratch, ignore_errors=True)

    @contextlib.contextmanager
    def _kept(self, name: str, about: dict[str, Any]) -> Iterator[Env]:
        """The environment while the step is made, with its scratch folder."""
        with contextlib.ExitStack() as stack:
            folder = folders.kept(self._scratch(name), json.dumps(about))
            scratch = Path(hosts.together(lambda: str(stack.enter_context(folder))))
            hosts.see(scratch)
            minutes = self.env.work.checkpoint_minutes
            yield self.env._replace(
                step=self._label(name),
                inputs=tuple(about["inputs"]),
                scratch=scratch,
                shards=Shards(scratch / "shards", minutes),
                checkpoints=Checkpoints(scratch / "checkpoints", minutes),
            )
            self._remove(scratch)


def cost_of(f: Any, values: Sequence[Any], settings: Mapping[str, Any]) -> Cost | None:
    """What f(key, *values, **settings) will take; None where it does not say."""
    tell = getattr(f, "cost", None)
    return tell(*values, **settings) if tell else None


def as_input(value: Any) -> Any:
    """A constructed set is a data set for whoever comes after."""
    if isinstance(value, Constructed):
        return Dataset(rows.cast(value.images, np.float32), value.labels, value.names)
    return value
