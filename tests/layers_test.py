"""Modules import from floors below their own, never sideways and never up."""

import ast
from pathlib import Path

from absl.testing import parameterized

ROOT = Path(__file__).parent.parent / "nrf"
FLOORS = (
    {"types", "config", "devices"},
    {"models", "losses", "data", "runs"},
    {"attacks", "train"},
    {"evaluate", "features", "theory", "synthesize"},
    {"experiments", "report"},
)
# Plots and files are behind their own doors.
DOORS = {
    "matplotlib": {"report"},
    "tensorflow_datasets": {"data", "runs"},
    "orbax": {"runs"},
    "jax.sharding": set(
        "devices train evaluate synthesize features experiments".split()
    ),
}


def imports(module):
    """Of the module or package: (what, whether inside of a function)."""
    path = ROOT / module
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


class LayersTest(parameterized.TestCase):
    def test_every_module_has_a_floor(self):
        modules = {
            path.stem for path in ROOT.iterdir() if not path.stem.startswith("_")
        }
        self.assertEqual(modules, set().union(*FLOORS))

    @parameterized.parameters(*enumerate(FLOORS))
    def test_imports_go_down(self, height, floor):
        below = set().union(*FLOORS[:height])
        for module in floor:
            for name in imports(module):
                parts = name.split(".")
                if parts[0] != "nrf" or len(parts) < 2 or parts[1] == module:
                    continue
                self.assertIn(parts[1], below, f"nrf.{module} imports {name}")

    @parameterized.parameters(*DOORS.items())
    def test_doors(self, package, modules):
        found = {
            module
            for module in set().union(*FLOORS)
            if any(name.startswith(package) for name in imports(module))
        }
        self.assertEqual(found, modules)
