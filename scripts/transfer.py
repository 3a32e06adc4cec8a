"""Runs a study: python scripts/transfer.py configs/transfer.py --out runs/transfer

Every field of the config is an option: --seeds 0 1 --attack.epsilon 0.25. A run that
was stopped goes on after its last finished stage.
"""

import shlex
import sys

from command_line import bar, parse

from nrf.config import Transfer


def main() -> None:
    config, out = parse(Transfer, "scripts/transfer.py")

    from nrf import devices, report  # JAX starts after options are right.
    from nrf.experiments import transfer

    devices.cache_programs()
    command = shlex.join(["python", *sys.argv])
    try:
        results = transfer.run(config, out, progress=bar, command=command)
        page = report.write(out)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
    print(f"\n{report.transfer.table(results)}\n{page}")


if __name__ == "__main__":
    main()
