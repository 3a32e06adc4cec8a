"""Compares runs: python scripts/compare.py runs/digits runs/weak"""

import sys

from nrf.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]], script="scripts/compare.py"))
