"""Runs the theory: python scripts/theory.py configs/gaussian.py --out runs/gaussian

The same as `nrf run`.
"""

import sys

from nrf.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]], script="scripts/theory.py"))
