"""Runs an experiment: python scripts/run.py configs/digits.py --out runs/digits

Every field of the config is an option: --seeds 0 --robust.attack.epsilon 0.5. A run
that was stopped goes on after its last finished step. The same as `nrf run`.
"""

import sys

from nrf.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]], script="scripts/run.py"))
