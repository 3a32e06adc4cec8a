"""Runs a study: python scripts/transfer.py configs/transfer.py --out runs/transfer

The same as `nrf run`.
"""

import sys

from nrf.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]], script="scripts/transfer.py"))
