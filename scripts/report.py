"""Makes the report of a run again: python scripts/report.py runs/digits"""

import argparse
from pathlib import Path

from nrf import report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "run", type=Path, help="the --out folder of scripts/run.py or another script"
    )
    try:
        page = report.write(parser.parse_args().run)
    except ValueError as error:
        parser.exit(1, f"{error}\n")
    print(page)


if __name__ == "__main__":
    main()
