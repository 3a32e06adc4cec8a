"""Runs an experiment: python scripts/run.py configs/digits.py --out runs/digits

Every field of the config is an option: --seeds 0 --robust.attack.epsilon 0.5. A run
that was stopped goes on after its last finished stage.
"""

import shlex
import sys

from command_line import bar, parse

from nrf.config import Experiment


def main() -> None:
    config, out = parse(Experiment, "scripts/run.py")

    from nrf import devices, report  # JAX starts after options are right.
    from nrf.experiments import main as experiment

    devices.cache_programs()
    command = shlex.join(["python", *sys.argv])
    try:
        results = experiment.run(config, out, progress=bar, command=command)
        page = report.write(out)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
    print(f"\n{report.table(results)}\n{page}")


if __name__ == "__main__":
    main()
