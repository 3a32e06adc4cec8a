"""A config as a flat list of its fields, at any depth, and a config with some changed.

What a field may be is read off its value: whoever writes a config puts dataclasses of
their own where the annotation says `Any` or `Callable`. Mappings, and tuples of
dataclasses, are passed through by name: `networks["robust"].attack.epsilon` is shown as
robust.attack.epsilon.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path as File
from typing import Any, Literal, NamedTuple

from nrf.config import comments

Path = tuple[str, ...]  # As it is shown: ("robust", "attack", "epsilon").
# Attributes, keys and indices: ("networks", "robust", "attack", "epsilon").
Place = tuple[str | int, ...]
MISSING = dataclasses.MISSING


class Field(NamedTuple):
    """A value that words can change."""

    path: Path
    place: Place
    type: Any
    value: Any  # MISSING where it has to be given.
    text: str  # A sentence on what it is.


class Group(NamedTuple):
    """A dataclass inside of the config."""

    path: Path
    place: Place
    kind: type
    value: Any  # None where it is off; MISSING where it has yet to be made.
    optional: bool  # Whether it may be off.
    text: str


class Refused(ValueError):
    """A dataclass does not take its new values; `place` is where it stands."""

    def __init__(self, place: Place, words: str):
        super().__init__(words)
        self.place = place


def walk(
    config: Any,
    *,
    reserved: tuple[str, ...] = (),
    on: frozenset[Path] = frozenset(),
    off: frozenset[Path] = frozenset(),
) -> Iterator[Field | Group]:
    """The fields and groups of a config, in order, each group before what is in it.

    Optional groups at the paths `on` and `off` are switched. What is named as one of
    `reserved` keeps the name of its container, as in networks.out.
    """

    def inside(kind: type, value: Any, path: Path, place: Place) -> Iterator:
        for name, key, part, hint, text in _entries(kind, value, path or reserved):
            yield from entry((*path, name), (*place, *key), part, hint, text)

    def entry(path: Path, place: Place, value: Any, hint: Any, text: str) -> Iterator:
        kind = _kind(value, hint)
        if kind is None:
            type_ = _words(value, hint)
            if type_ is not None:
                yield Field(path, place, type_, value, text)
            return
        if path in on:
            value = MISSING
        if path in off:
            value = None
        optional = type(None) in typing.get_args(hint)
        text = text or comments.summary(kind)
        yield Group(path, place, kind, value, optional, text)
        if value is not None:
            yield from inside(kind, value, path, place)

    yield from inside(type(config), config, (), ())


def change(
    value: Any,
    new: Mapping[Place, Any],
    made: Mapping[Place, type],
    place: Place = (),
) -> Any:
    """The config with the values `new`, and with groups that were off as in `made`.

    Raises Refused if the checks of a dataclass fail.
    """
    if place in new:
        return new[place]
    depth = len(place)
    names = [at[depth] for at in (*new, *made) if at[:depth] == place != at]
    if not names and place not in made:
        return value

    def part(name: Any, old: Any) -> Any:
        return change(old, new, made, (*place, name))

    if isinstance(value, Mapping):
        same: Any = type(value)
        return same({name: part(name, old) for name, old in value.items()})
    if isinstance(value, tuple):
        return tuple(part(i, old) for i, old in enumerate(value))
    if place in made:
        kind: Any = made[place]
        olds = {field.name: default(field) for field in dataclasses.fields(kind)}
        values = {}
    else:
        kind = type(value)
        olds = {f.name: getattr(value, f.name) for f in _init_fields(kind)}
        values = dict(olds)
    values |= {str(name): part(name, olds[str(name)]) for name in names}
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise Refused(place, str(error)) from error


def default(field: dataclasses.Field) -> Any:
    """The value of a field that is not given; MISSING if it has to be."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _init_fields(kind: Any) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(kind) if field.init]


def _entries(
    kind: type, value: Any, reserved: tuple[str, ...]
) -> Iterator[tuple[str, Place, Any, Any, str]]:
    """Of a dataclass: names, their keys, what they hold, annotations, sentences.

    `value` is an instance, or MISSING for the defaults of `kind`.
    """
    texts, fields = comments.of_fields(kind), _init_fields(kind)
    try:
        hints = typing.get_type_hints(kind)
    except (NameError, TypeError):  # Written as strings that mean nothing here.
        hints = {}
    taken = {*reserved, *(field.name for field in fields)}
    for field in fields:
        text = texts.get(field.name, "")
        held = default(field) if value is MISSING else getattr(value, field.name)
        parts = _parts(held)
        if parts is None:
            hint = hints.get(field.name, Any)
            yield field.name, (field.name,), held, hint, text
        # What the annotation of a mapping says of each of its values.
        of = typing.get_args(hints.get(field.name))[1:] or (Any,)
        within = of[0] if isinstance(held, Mapping) else Any
        for key, part in parts or ():
            named = key if isinstance(held, Mapping) else getattr(part, "name", None)
            shown = str(named)
            # Two containers may have the same name in them.
            if named is None or shown in taken:
                shown = f"{field.name}.{key if named is None else named}"
            taken.add(shown)
            # The sentence on a container is not about one part of it.
            about = "" if dataclasses.is_dataclass(part) else text
            yield shown, (field.name, key), part, within, about


def _parts(value: Any) -> list[tuple[Any, Any]] | None:
    """What a mapping or a tuple of dataclasses has in it; None for anything else."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple) and value and all(map(_is_instance, value)):
        return list(enumerate(value))
    return None


def _is_instance(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _members(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _kind(value: Any, hint: Any) -> type | None:
    """The dataclass of a value, or the one that may stand where there is none."""
    if _is_instance(value):
        return type(value)
    if value is None or value is MISSING:
        for member in _members(hint):
            if dataclasses.is_dataclass(member) and isinstance(member, type):
                return member
    return None


def _words(value: Any, hint: Any) -> Any:
    """The type that words for a value have; None if no words can say it."""
    if not _sayable(value):
        return None
    members = tuple(member for member in _members(hint) if _is_plain(member))
    if set(members) - {type(None)}:
        return typing.Union[members]  # noqa: UP007
    if isinstance(value, tuple):
        kinds = {type(part) for part in value}
        kinds = {float} if kinds == {int, float} else kinds
        return tuple[kinds.pop(), ...] if len(kinds) == 1 else None  # type: ignore
    return None if value is None or value is MISSING else type(value)


def _sayable(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_sayable, value))
    simple = isinstance(value, bool | int | float | str | File)
    return simple or value is None or value is MISSING


def _is_plain(hint: Any) -> bool:
    """Whether words on a command line can give a value of this type."""
    if hint in (bool, int, float, str, File, type(None), ...):
        return True
    if typing.get_origin(hint) is Literal:
        return True
    if typing.get_origin(hint) is tuple or len(_members(hint)) > 1:
        return all(map(_is_plain, typing.get_args(hint)))
    return False
