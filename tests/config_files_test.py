"""Configs are found by name and by path, and what cannot be loaded is told in words."""

import tempfile
from pathlib import Path

from absl.testing import parameterized

from nrf.config import files, options


class LoadTest(parameterized.TestCase):
    def test_shipped_configs_by_name_and_by_path(self):
        path = files.shipped()["gaussian"]
        self.assertEqual(options.load("gaussian").name, "gaussian")
        self.assertEqual(options.load(str(path)), options.load("gaussian"))

    @parameterized.named_parameters(
        ("syntax", b"a = 1\nconfig = (\n", r"study.py, line 2: '\(' was never closed"),
        ("module", b"\nimport nowhere_to_be", "line 2: ModuleNotFoundError: No module"),
        ("check", b"a = 1\nraise ValueError('too few')", "line 2: too few$"),
        ("error", b"config = 1 / 0", "line 1: ZeroDivisionError: division by zero"),
        ("binary", b"\x00\x01\x02", "binary content"),
        ("latin", b"config = '\xe9'", "study.py.*utf-8"),
        ("nothing", b"experiment = 3", "sets no `config`"),
    )  # fmt: skip
    def test_refuses_files_in_words(self, content, words):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "study.py"
            file.write_bytes(content)
            with self.assertRaisesRegex(ValueError, words):
                options.load(str(file))

    def test_refuses_what_is_not_there(self):
        words = "no config digitz.* Did you mean digits\\? These are cifar10, "
        with self.assertRaisesRegex(ValueError, words):
            options.load("digitz")
        with self.assertRaisesRegex(ValueError, "Did you mean planted"):
            options.load("configs/plantd.py")
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(ValueError, "is a folder"):
                options.load(folder)

    def test_a_config_imports_what_lies_beside_it_and_defines_classes(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "my_own_recipes.py").write_text("steps = 7\n")
            file = Path(folder, "random.py")  # As a module of Python is called.
            file.write_text(
                "import dataclasses\nfrom my_own_recipes import steps\n"
                "@dataclasses.dataclass(frozen=True)\nclass Net:\n"
                "    steps: 'int | None' = None  # Of mine.\n"
                "config = Net(steps)\n"
            )
            config = options.load(str(file))
            found = options.parse(config, ["--out", "x", "--steps", "9"]).config
            self.assertEqual((config.steps, found.steps), (7, 9))
            # Changed and loaded again, it is the new one.
            file.write_text("config = 3\n")
            self.assertEqual(options.load(str(file)), 3)
        import random

        self.assertTrue(hasattr(random, "gauss"))
