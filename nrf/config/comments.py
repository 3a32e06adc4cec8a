"""The sentence beside each field of a dataclass, as its source has it; for `--help`."""

import ast
import dataclasses
import functools
import inspect
import io
import textwrap
import tokenize


@functools.cache
def of_fields(kind: type) -> dict[str, str]:
    """What the source says about the fields of a dataclass, by name.

    That is the comment behind a field, or else the comment lines right above it, or
    else the string below it. A field of a base class is described there.
    """
    described: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            described.update(_own(base))
    return described


def summary(kind: type) -> str:
    """The first paragraph of the docstring, on one line; "" where there is none."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    # A dataclass without a docstring is given its signature for one.
    return "" if text.startswith(f"{kind.__name__}(") else " ".join(text.split())


def _own(kind: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(kind))
        body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    except (OSError, TypeError, SyntaxError):  # Of a notebook, or made by a program.
        return {}
    comments, alone = _comments(source)
    described = {}
    following = [*body[1:], None]
    for statement, after in zip(body, following, strict=True):
        if not isinstance(statement, ast.AnnAssign):
            continue
        first, last = statement.lineno, statement.end_lineno or statement.lineno
        behind = [comments[n] for n in range(first, last + 1) if n in comments]
        above: list[str] = []
        line = first - 1
        while line in alone:
            above.insert(0, comments[line])
            line -= 1
        words = " ".join(behind or above) or _string(after)
        described[ast.unparse(statement.target)] = words
    return {name: words for name, words in described.items() if words}


def _comments(source: str) -> tuple[dict[int, str], set[int]]:
    """Comments by their line, and the lines that hold nothing else."""
    comments, alone = {}, set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            comments[line] = token.string.lstrip("#").strip()
            if not token.line[:column].strip():
                alone.add(line)
    return comments, alone


def _string(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        if isinstance(statement.value.value, str):
            return " ".join(statement.value.value.split())
    return ""
