"""Makes the report of a run again: python scripts/report.py runs/digits"""

import sys

from nrf.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]], script="scripts/report.py"))
