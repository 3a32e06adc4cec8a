"""The programs and commands of the README."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from absl.testing import absltest

ROOT = Path(__file__).parent.parent


class ReadmeTest(absltest.TestCase):
    def test_its_python_runs(self):
        text = (ROOT / "README.md").read_text()
        blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        self.assertNotEmpty(blocks)
        for block in blocks:
            ast.parse(block)
        # An excerpt of a longer program imports nothing.
        whole = [block for block in blocks if "import " in block]
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(whole)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_files_that_it_names_are_there(self):
        text = (ROOT / "README.md").read_text()
        named = set(
            re.findall(r"(?:scripts|configs|benchmarks|docs|notebooks)/\w+\.\w+", text)
        )
        self.assertGreater(len(named), 5)
        for file in named:
            self.assertTrue((ROOT / file).is_file(), file)
