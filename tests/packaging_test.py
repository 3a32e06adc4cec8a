"""What is installed: packages, configs, templates, the command."""

import configparser
import subprocess
import sys
from pathlib import Path

from absl.testing import absltest

from nrf.config import files

ROOT = Path(__file__).parent.parent


def settings(section, name):
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser[section][name]


class PackagingTest(absltest.TestCase):
    def test_every_package_is_installed(self):
        there = {
            ".".join(file.parent.relative_to(ROOT).parts)
            for file in (ROOT / "nrf").rglob("*.py")
        }
        listed = settings("options", "packages").split()
        self.assertCountEqual(listed, [*there, "nrf.configs"])
        # A package without it is not seen by tools that look for packages.
        for package in there:
            self.assertTrue((ROOT / Path(*package.split(".")) / "__init__.py").exists())

    def test_every_template_is_installed(self):
        _, _, pattern = settings("options.package_data", "nrf.report").partition("/")
        self.assertEqual(pattern, "*")
        folders = [p for p in (ROOT / "nrf/report/templates").iterdir() if p.is_dir()]
        self.assertEmpty(folders, "package_data does not look into folders")

    def test_shipped_configs_are_those_of_the_folder(self):
        names = {file.stem for file in (ROOT / "configs").glob("*.py")}
        self.assertEqual(set(files.shipped()), names)

    def test_the_command_exists(self):
        self.assertIn(
            "nrf = nrf.__main__:main",
            settings("options.entry_points", "console_scripts"),
        )

    def test_core_imports_without_what_only_commands_need(self):
        code = (
            "import sys\n"
            "sys.modules |= dict.fromkeys(('matplotlib', 'tyro', 'tqdm', 'jinja2'))\n"
            "import nrf.attacks, nrf.data, nrf.evaluate, nrf.features, nrf.losses\n"
            "import nrf.models, nrf.runs, nrf.synthesize, nrf.theory, nrf.train\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
        self.assertEqual(done.returncode, 0)
