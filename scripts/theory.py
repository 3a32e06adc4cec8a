"""Runs the theory: python scripts/theory.py configs/gaussian.py --out runs/gaussian

Every field of the config is an option: --samples 50000 --mean -5 1.
"""

import functools
import shlex
import sys

from command_line import parse
from tqdm import tqdm

from nrf.config import Theory


def main() -> None:
    config, out = parse(Theory, "scripts/theory.py")

    from nrf import devices, report
    from nrf.experiments import theory

    devices.cache_programs()
    command = shlex.join(["python", *sys.argv])
    bar = functools.partial(tqdm, desc="theory", unit=" parts")
    try:
        theory.run(config, out, progress=bar, command=command)
        page = report.write(out)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
    print(page)


if __name__ == "__main__":
    main()
