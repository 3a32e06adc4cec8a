"""Commands that pages, notebooks and docstrings write down can be given as they stand.

Each is read by the program's own parser, and not carried out: options, configs, files,
targets of make and extras of pip are such as there are.
"""

import argparse
import ast
import configparser
import contextlib
import functools
import importlib.metadata
import importlib.util
import inspect
import io
import json
import os
import re
import runpy
import shlex
import sys
from pathlib import Path
from unittest import mock

import tyro
from absl.testing import absltest, parameterized
from packaging.requirements import Requirement

from nrf import __main__ as command
from nrf import devices, report
from nrf.config import options
from nrf.config.fields import walk
from nrf.experiments import subject
from nrf.runs import store
from nrf.theory import planted

ROOT = Path(__file__).parent.parent
BEGIN = r"(?<![\w./-])(?:\w+=\S+ )*(?:\.venv/bin/)?(?:nrf|python|pip|make)(?=\s)"
OPTION = r"(?<![\w-])--[a-z][\w.-]*\w"
PIPS_OPTIONS = {"--editable", "--no-deps", "-U"}


def pages():
    """What people read, by the file that it is in."""
    for pattern in ("README.md", "docs/*.md", "benchmarks/conformance/README.md"):
        for path in sorted(ROOT.glob(pattern)):
            yield path, path.read_text()
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        yield path, "\n".join(texts)
    for folder in ("configs", "scripts", "benchmarks", "nrf", "tests/failures"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            # An index of commands, which have no options there.
            if path != Path(command.__file__):
                yield path, ast.get_docstring(ast.parse(path.read_text())) or ""


def commands(text):
    """Those of shell programs and of indented lines, and those in the text."""
    text = re.sub(r"\\\n\s*", "", text)
    for program in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in program.splitlines():
            before, begin, rest = re.match(f"(.*?)({BEGIN}|$)(.*)", line).groups()
            # It ends where its quotation does, or before the shell goes on.
            end = '"' if before.count('"') % 2 else " &"
            if begin:
                yield (begin + rest).partition(end)[0]
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for line in re.findall(rf"^    ({BEGIN} (?! ).*)$", text, re.MULTILINE):
        # What a command is for stands far behind it.
        yield re.split(r" {3,}(?![ -])", line)[0]
    for words in re.findall(rf"`({BEGIN}\s[^`]*)`", text):
        yield " ".join(words.split())


PAGES = {str(path.relative_to(ROOT)): text for path, text in pages()}
COMMANDS = {
    name: found
    for name, text in PAGES.items()
    if (found := list(dict.fromkeys(commands(text))))
}
PAGES = {name: text for name, text in PAGES.items() if re.search(OPTION, text)}


class Read(Exception):
    """The options are right; nothing else is to be done."""


def options_of(function):
    return {f"--{n.replace('_', '-')}" for n in inspect.signature(function).parameters}


@functools.cache
def known_options():
    """Of nrf, of the benchmarks, and of others."""
    known = {*PIPS_OPTIONS, "--help", "--as"}
    known |= {f"--{name}" for name in options._RESERVED}
    for name in options.shipped():
        fields = walk(options.load(name), reserved=options._RESERVED)
        known |= {f"--{options._key(field.path)}" for field in fields}
    for path in (ROOT / "benchmarks").glob("*.py"):
        known |= set(parser_of(path)._option_string_actions)
    told = []
    with mock.patch.object(tyro, "cli", lambda asked, **_: told.append(asked)):
        for name in set(command._COMMANDS) - {"run"}:
            with contextlib.suppress(TypeError, AttributeError):
                command.main([name])
    return known.union(*map(options_of, told))


def only_read(cli, asked, **settings):
    """As tyro.cli, which calls a function with what it has read."""
    if isinstance(asked, type):
        return cli(asked, **settings)
    cli(functools.wraps(asked)(lambda *_, **__: None), **settings)
    raise Read


def parser_of(path):
    """The parser of a benchmark, without importing what it is compared with."""
    parser = argparse.ArgumentParser(str(path))
    for call in ast.walk(ast.parse(path.read_text())):
        if getattr(getattr(call, "func", None), "attr", "") != "add_argument":
            continue
        settings = {key.arg: ast.unparse(key.value) for key in call.keywords}
        kept = {
            name: ast.literal_eval(settings[name])
            for name in ("nargs", "action", "required")
            if name in settings
        }
        if kind := {"int": int, "float": float}.get(settings.get("type")):
            kept["type"] = kind
        parser.add_argument(ast.literal_eval(call.args[0]), **kept)
    return parser


class CommandsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(ROOT)
        for where, name, instead in (
            (command, "_make", lambda *_: 0),
            (command, "_show_plan", lambda *_: 0),
            (subject, "check", mock.MagicMock()),
            (subject, "certify", mock.MagicMock()),
            (devices, "share_cpu", lambda: None),
            (report, "figure", lambda run: b""),
            (store, "write", lambda to, content: None),
            (tyro, "cli", functools.partial(only_read, tyro.cli)),
        ):
            self.enter_context(mock.patch.object(where, name, instead))

    @parameterized.parameters(*COMMANDS)
    def test_can_be_given(self, name):
        for line in COMMANDS[name]:
            words = shlex.split(line.replace("$i", "1"), comments=True)
            while re.match(r"\w+=", words[0]):
                words.pop(0)
            program = Path(words.pop(0)).name
            said = io.StringIO()
            with (
                self.subTest(line),
                contextlib.redirect_stdout(said),
                contextlib.redirect_stderr(said),
                contextlib.suppress(Read),
            ):
                try:
                    getattr(self, program)(words)
                except SystemExit as end:
                    self.assertIn(end.code, (None, 0), said.getvalue())

    @parameterized.parameters(*PAGES)
    def test_options_are_there(self, name):
        text = re.sub(r"```.*?```", "", PAGES[name], flags=re.DOTALL)
        self.assertEmpty(set(re.findall(OPTION, text)) - known_options())

    def nrf(self, args):
        if "prepare" not in args[0] and (not args[1:] or args[1].startswith("--plan")):
            # It is spoken of, as in "what `nrf verify` writes".
            self.assertIn(args[0], command._COMMANDS)
            return
        if args[0] == "run":
            args = [{"CONFIG": "digits"}.get(word, word) for word in args]
            args += [] if "--out" in args else ["--out", "DIR"]
        sys.exit(command.main(args))

    def python(self, args):
        if args[0] == "-c":
            compile(args[1], "-c", "exec")
        elif args[0] == "-m":
            self.assertIsNotNone(importlib.util.find_spec(args[1]))
        elif args[0].startswith("scripts/"):
            with mock.patch.object(sys, "argv", args):
                runpy.run_path(args[0], run_name="__main__")
        else:
            parser_of(Path(args[0])).parse_args(args[1:])

    def pip(self, args):
        self.assertEqual(args[0], "install")
        setup = configparser.ConfigParser()
        setup.read("setup.cfg")
        for word in args[1:]:
            if word.startswith("-"):
                self.assertIn(word, PIPS_OPTIONS)
                continue
            there = set(setup["options.extras_require"])
            wanted = Requirement(
                word.replace(".", "nrf", 1) if word[0] == "." else word
            )
            if word[0] != ".":
                with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                    about = importlib.metadata.metadata(wanted.name)
                    there = set(about.get_all("Provides-Extra") or ())
            self.assertLessEqual(wanted.extras, there)

    def make(self, args):
        rules = re.findall(r"^(\w+):", Path("Makefile").read_text(), re.MULTILINE)
        self.assertIn(args[0], rules)


class IndexTest(absltest.TestCase):
    def test_the_command_lists_its_commands(self):
        listed = re.findall(r"^    nrf (\S+)", command.__doc__, re.MULTILINE)
        self.assertEqual(listed, list(command._COMMANDS))

    def test_pages_have_commands(self):
        self.assertGreater(sum(map(len, COMMANDS.values())), 90)
        self.assertIn(
            "nrf run cifar10 --out /shared/runs/cifar10 --distributed",
            COMMANDS["docs/scaling.md"],
        )

    def test_the_right_answers_of_the_page_are_printed_by_its_command(self):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            planted.main()
        page = (ROOT / "docs/planted.md").read_text()
        for name in ("D_R", "D_NR", "D_rand", "D_det"):
            shown = re.search(rf"^\| {name} \|(.*)\|$", page, re.MULTILINE)[1].split(
                "|"
            )
            printed = re.search(rf"^{name} +(.*)$", said.getvalue(), re.MULTILINE)[1]
            self.assertEqual(
                [" ".join(w.split()) for w in shown[1::2]],
                re.findall(r"\S+ %", printed),
            )


if __name__ == "__main__":
    absltest.main()
