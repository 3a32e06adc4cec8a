"""Runs of several processes find what one process finds, and go on after a death.

    PYTHONPATH=tests python benchmarks/hosts.py --out runs/hosts --stops 4

The digits' experiment with everything in it (features, AutoAttack, controls, students,
closeness) and the study of transferability, of networks of a few units: by one process
with 1, 4 and 8 virtual CPU devices and by two with 2 and 4 each. All rows must be
those of one process with 4 devices; how far floats and arrays are from each other is
noted. Then runs of two processes of which one gets SIGKILL or SIGTERM at some moment:
the time until both have ended, and whether the same command, given again, ends with the
values of the run that nobody stopped, bit for bit.

What lies in the folder is not made again, so that this too can be stopped and go on.
Writes hosts.json beside this file.
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import time
from typing import Any

import together

from nrf.runs import manifest, provenance

STUDIES = {
    "experiment": """
import helpers
from dataclasses import replace

training = replace(helpers.TRAINING, batch_size=16)
D_R, D_NR, D_rand, D_det = (replace(s, train=training) for s in helpers.tiny().sets)
controls = helpers.controls()
config = helpers.tiny(
    networks={
        name: replace(one, batch_size=16)
        for name, one in helpers.tiny().networks.items()
    },
    sets=(D_R, D_NR, D_rand, D_det),
    students={k: replace(v, training=training) for k, v in helpers.students().items()},
    features=helpers.FEATURES,
    autoattack=helpers.AUTOATTACK,
    controls=replace(
        controls,
        networks=dict.fromkeys(controls.networks, training),
        sets=tuple(replace(one, train=None) for one in controls.sets),
        leakage=replace(
            controls.leakage, linear=replace(controls.leakage.linear, batch_size=16)
        ),
    ),
    closeness=helpers.CLOSENESS,
)
""",
    "transfer": """
import helpers
from dataclasses import replace

training = replace(helpers.TRAINING, batch_size=16)
study = helpers.tiny_transfer()
config = replace(
    study,
    source_training=training,
    learners=tuple(
        replace(one, on_D=training, on_D_det=training) for one in study.learners
    ),
)
""",
}
# Processes x the devices of each; the others are compared with the first one.
LAYOUTS = "1x4 1x1 1x8 2x2 2x4".split()
PATIENCE = 10.0


def line(folder: pathlib.Path, study: str, out: pathlib.Path) -> list[str]:
    file = folder / f"{study}.py"
    file.write_text(STUDIES[study])
    return together.command("run", file, "--out", out)


def compared(
    folder: pathlib.Path, study: str, layouts: list[str]
) -> dict[str, dict[str, Any]]:
    """How far the runs of all layouts are from the first one, and what each took."""
    found: dict[str, dict[str, Any]] = {}
    for layout in layouts:
        processes, devices = map(int, layout.split("x"))
        out = folder / f"{study}_{layout}"
        if not any(out.glob("*.json")):
            ended = together.launch(
                line(folder, study, out),
                processes=processes,
                devices=devices,
                timeout=3600,
            )
            for done in ended:
                assert done.code == 0, done.err
        away = together.differences(folder / f"{study}_{layouts[0]}", out)
        steps = out.glob(f"*/*/{manifest.FILE}")
        seconds = [manifest.read(path.parent)["seconds"] for path in steps]
        most = max(away, key=lambda place: away[place])
        found[layout] = {
            "steps": len(seconds),
            "seconds": round(sum(seconds), 1),
            "largest_difference": away[most],
            "of": most,
        }
    return found


def stopped(folder: pathlib.Path, number: int) -> dict[str, Any]:
    """A run of which a process is stopped at some moment, and that goes on."""
    draw, out = random.Random(number), folder / f"stopped{number}"
    who, sent = number % 2, (signal.SIGKILL, signal.SIGTERM)[number // 2 % 2]
    command = [*line(folder, "experiment", out), "--patience", str(PATIENCE)]
    options = together.joined(2)
    running = [
        subprocess.Popen(
            [*command, *options, str(process)],
            cwd=together.ROOT,
            env=together.surroundings(2),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    moment = draw.uniform(8, 40)
    time.sleep(moment)
    running[who].send_signal(sent)
    start = time.monotonic()
    said = [one.communicate()[1] for one in running]
    seconds = time.monotonic() - start
    steps = len(list(out.glob(f"*/*/{manifest.FILE}")))
    again = together.launch(command)
    whole = folder / "experiment_2x2"
    same = [
        manifest.digest(path.parent)
        == manifest.digest(out / path.parent.relative_to(whole))
        for path in whole.glob(f"*/*/{manifest.FILE}")
    ]
    return {
        "signal": sent.name,
        "process": who,
        "after_seconds": round(moment, 1),
        "finished_steps": steps,
        "codes": [one.returncode for one in running],
        "seconds_until_both_had_ended": round(seconds, 1),
        "last_words_of_the_other": said[1 - who].strip().splitlines()[-1:],
        "codes_when_it_went_on": [one.code for one in again],
        "steps": len(same),
        "equal_bit_for_bit": sum(same),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=STUDIES)
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS)
    parser.add_argument("--stops", type=int, default=4)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = {
        **provenance.origin(),
        "studies": {
            study: compared(asked.out, study, asked.layouts) for study in asked.studies
        },
        "patience": PATIENCE,
        "stops": [stopped(asked.out, number) for number in range(asked.stops)],
    }
    file = pathlib.Path(__file__).with_suffix(".json")
    file.write_text(json.dumps(results, indent=1) + "\n")
    print(file.read_text())


if __name__ == "__main__":
    main()
