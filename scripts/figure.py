"""A run in one picture: python scripts/figure.py runs/photos docs/figure.png

Images of D, D_R, D_NR, D_rand and D_det, and the accuracies of what learned from them.
"""

import sys
from pathlib import Path

from nrf import report
from nrf.runs import store


def main(run: str, to: str) -> None:
    store.write(Path(to), report.figure(Path(run)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
