"""Every field of a config as an option of the command line.

    config, out, flags = parse(load("digits"), ["--out", "runs/digits", "--seeds", "0"])

Nothing here knows what an experiment is: options follow from the config itself, see
`nrf.config.fields`. A group that may be None is switched off by `--features None`, and
on by any of its fields: `--robust.attack.norm l2`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from nrf.config import comments
from nrf.config.accelerators import ACCELERATORS
from nrf.config.fields import MISSING, Field, Group, Refused, change, walk
from nrf.config.files import load, shipped

__all__ = ["Flags", "OptionError", "Parsed", "load", "parse", "shipped"]

# Of `nrf.hosts.start`, which has their meaning.
_HOSTS = ("coordinator", "processes", "process", "patience")
_RESERVED = (
    *("help", "out", "plan", "quiet", "tensorboard", "reuse", "refuse", "distributed"),
    *_HOSTS,
)


class OptionError(ValueError):
    """Options that do not go together or that a config refuses, in words."""


class Flags(NamedTuple):
    """What is asked for beside the config."""

    plan: str | None = None  # Only show the steps; with times of "here", or of that.
    quiet: bool = False  # Show no progress.
    reuse: tuple[Path, ...] = ()  # Other runs, whose equal steps are taken over.
    # Of a run of several processes, what `nrf.hosts.start` is called with.
    hosts: Mapping[str, Any] | None = None
    tensorboard: Path | None = None  # Folder of curves and pictures for TensorBoard.


class Parsed(NamedTuple):
    config: Any
    out: Path  # The folder of the run.
    flags: Flags


def parse(config: Any, args: list[str], *, prog: str = "nrf run CONFIG") -> Parsed:
    """The config changed by options, and what else the command line asks for.

    Raises:
      OptionError: a group is switched in a way that cannot be, or the config refuses
        the new values.
      SystemExit: after --help (0), and after an option that does not exist or cannot
        be read, which it tells on stderr (2).
    """
    off, on, rest = _switches(config, _with_place(args))
    entries = list(walk(config, reserved=_RESERVED, on=on, off=off))
    if not {"-h", "--help"} & set(rest):
        _check_required(entries, rest)
    values = _ask(config, entries, rest, prog, on)
    new = {
        entry.place: values[number]
        for number, entry in enumerate(entries)
        if isinstance(entry, Field) and values[number] != entry.value
    }
    groups = [entry for entry in entries if isinstance(entry, Group)]
    new |= {group.place: None for group in groups if group.path in off}
    if values.get("refuse"):
        new[("work", "refuse")] = True
    made = {group.place: group.kind for group in groups if group.value is MISSING}
    try:
        config = change(config, new, made)
    except Refused as error:
        shown = {group.place: f"--{_key(group.path)}: " for group in groups}
        raise OptionError(f"{shown.get(error.place, '')}{error}") from error
    reuse, hosts = tuple(values["reuse"]), _hosts(values)
    flags = Flags(values["plan"], values["quiet"], reuse, hosts, values["tensorboard"])
    return Parsed(config, values["out"], flags)


def _with_place(args: list[str]) -> list[str]:
    """The words, with "here" behind a --plan that stands alone."""
    words: list[str] = []
    for word, after in zip(args, [*args[1:], "--"], strict=False):
        alone = word == "--plan" and after.startswith("-")
        words += [word, "here"] if alone else [word]
    return words


def _hosts(values: Mapping[Any, Any]) -> dict[str, Any] | None:
    given = {name: values[name] for name in _HOSTS if values[name] is not None}
    if given and not values["distributed"]:
        raise OptionError(
            f"--{next(iter(given))} is of a run of several processes; add "
            "--distributed."
        )
    if values["distributed"] and values["plan"]:
        raise OptionError("--plan needs one process; leave out --distributed.")
    return given if values["distributed"] else None


def _key(path: tuple[str, ...]) -> str:
    """As options are written; tyro takes _ for -, and so does this."""
    return ".".join(path).replace("_", "-")


def _option(word: str) -> tuple[str, str | None]:
    """The name that a word of the command line begins with, and the value behind =."""
    if not word.startswith("--"):
        return "", None
    name, equals, value = word[2:].partition("=")
    return name.replace("_", "-"), value if equals else None


def _switches(config: Any, args: list[str]) -> tuple[frozenset, frozenset, list[str]]:
    """Paths of the groups to be switched off and on, and the words that are left."""
    off: frozenset = frozenset()
    on: frozenset = frozenset()
    while True:
        # Inside of a group that was switched on there may be others.
        entries = list(walk(config, reserved=_RESERVED, on=on, off=off))
        groups = {_key(e.path): e for e in entries if isinstance(e, Group)}
        asked, rest = _take(groups, args)
        given = {_option(word)[0] for word in rest}
        inside = {k for k in groups if any(name.startswith(f"{k}.") for name in given)}
        for key in asked & inside:
            raise OptionError(
                f"--{key} None switches {key} off; its other options cannot be given "
                "as well."
            )
        now_off = off | {groups[key].path for key in asked}
        now_on = on | {groups[k].path for k in inside if groups[k].value is None}
        if (now_off, now_on) == (off, on):
            return off, on, rest
        off, on = now_off, now_on


def _take(groups: dict[str, Group], args: list[str]) -> tuple[set[str], list[str]]:
    """The groups that are asked to be None, and the other words."""
    asked, rest, words = set(), [], list(args)
    while words:
        word = words.pop(0)
        key, value = _option(word)
        if key not in groups:
            rest.append(word)
            continue
        if value is None:
            value = words.pop(0) if words else ""
        if value != "None" or not groups[key].optional:
            raise OptionError(_no_switch(key, groups[key], value))
        asked.add(key)
    return asked, rest


def _no_switch(key: str, group: Group, value: str) -> str:
    names = [field.name for field in dataclasses.fields(group.kind)]
    fields = ", ".join(f"--{_key((key, name))}" for name in names[:3])
    if value == "None":
        return f"{key} cannot be None; its fields are {fields}."
    none = "None, which switches it off, or " if group.optional else ""
    return f"--{key} takes {none}options for its fields, {fields}; got {value!r}."


def _check_required(entries: list[Field | Group], rest: list[str]) -> None:
    given = {_option(word)[0] for word in rest}
    needed = [
        f"--{_key(entry.path)}"
        for entry in entries
        if isinstance(entry, Field)
        and entry.value is MISSING
        and _key(entry.path) not in given
    ]
    made = [e for e in entries if isinstance(e, Group) and e.value is MISSING]
    if needed:
        raise OptionError(
            f"{_key(made[0].path)} is off in this config; switched on it needs "
            f"{', '.join(needed)} too."
        )


def _ask(
    config: Any,
    entries: list[Field | Group],
    args: list[str],
    prog: str,
    on: frozenset[tuple[str, ...]],
) -> dict[Any, Any]:
    """The values of fields by their number in `entries`, and of flags by name."""
    by_parent: dict[tuple, list[int]] = {}
    for number, entry in enumerate(entries):
        by_parent.setdefault(entry.path[:-1], []).append(number)

    def nested(path: tuple, text: str, extra: list) -> tuple[Any, Any]:
        fields, values = [*extra], {name: value for name, _, value in extra}
        for number in by_parent.get(path, ()):
            kind, value = argument(entries[number])
            fields.append((f"field{number}", kind, value))
            values[f"field{number}"] = value
        made: Any = dataclasses.make_dataclass(
            "Options", [(name, kind) for name, kind, _ in fields]
        )
        made.__doc__ = text
        return made, made(**values)

    def argument(entry: Field | Group) -> tuple[Any, Any]:
        if isinstance(entry, Field):
            value = tyro.MISSING if entry.value is MISSING else entry.value
            kind = tyro.conf.FlagConversionOff[entry.type]  # type: ignore[misc,name-defined]
            return _named(kind, entry.path[-1], entry.text), value
        if entry.value is None:
            walked = walk(config, reserved=_RESERVED, on=on | {entry.path})
            paths = [e.path for e in walked if e.path[:-1] == entry.path]
            inside = ", ".join(f"--{_key(path)}" for path in paths)
            text = f"{entry.text} Off; switched on by any of its options: {inside}."
            return _named(type(None), entry.path[-1], text), None
        switch = (
            f" Switched off by --{_key(entry.path)} None." if entry.optional else ""
        )
        kind, value = nested(entry.path, entry.text + switch, [])
        return _named(kind, entry.path[-1], entry.text + switch), value

    run, start = nested((), comments.summary(type(config)), _flags(entries))
    parsed = tyro.cli(
        run, default=start, prog=prog, args=args, config=(tyro.conf.AvoidSubcommands,)
    )
    return _flatten(parsed)


def _named(kind: Any, name: str, text: str) -> Any:
    return Annotated[kind, tyro.conf.arg(name=name, help=text)]


def _flags(entries: list[Field | Group]) -> list[tuple[str, Any, Any]]:
    """Names, types and values of the options that are not of the config."""
    flag = tyro.conf.FlagCreatePairsOff[bool]
    flags = [
        (
            "out",
            Path,
            "Folder of the run; what is in it is not made again.",
            tyro.MISSING,
        ),
        (
            "plan",
            Literal["here", *ACCELERATORS] | None,
            "Only show the steps, which are done, and what is left: here, if it stands "
            "alone, or predicted for an accelerator.",
            None,
        ),
        ("quiet", flag, "Show no progress.", False),
        (
            "tensorboard",
            Path | None,
            "Folder for TensorBoard: curves of the trainings, and pictures.",
            None,
        ),
        (
            "reuse",
            tuple[Path, ...],
            "Folders of other runs, whose equal steps are taken instead of made.",
            (),
        ),
    ]
    text = "Be one of the processes, on one or several hosts, that share this run."
    flags.append(("distributed", flag, text, False))
    about: dict[str, tuple[Any, str]] = {
        "coordinator": (str, "HOST:PORT of process 0; a cluster's scheduler knows it."),
        "processes": (int, "How many processes there are; also known there."),
        "process": (int, "Which of them this is, from 0; also known there."),
        "patience": (float, "Seconds until one that is silent counts as dead: 60."),
    }
    for name, (kind, text) in about.items():
        flags.append((name, kind | None, text, None))
    if any(entry.place == ("work", "refuse") for entry in entries):
        text = "End the run at an accuracy that is not believable: --work.refuse True."
        flags.append(("refuse", flag, text, False))
    return [
        (name, _named(kind, name, text), value) for name, kind, text, value in flags
    ]


def _flatten(parsed: Any) -> dict[Any, Any]:
    values: dict[Any, Any] = {}
    for name, value in vars(parsed).items():
        if dataclasses.is_dataclass(value):
            values |= _flatten(value)
        else:
            number = name.removeprefix("field")
            values[int(number) if number.isdecimal() else name] = value
    return values
