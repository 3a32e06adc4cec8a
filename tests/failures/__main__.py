"""Prints what the thorough and the quick check say of every case, and their scores."""

from collections.abc import Callable

from failures.broken import BROKEN
from failures.measure import measured, names, quick
from failures.sound import SOUND
from nrf import devices
from nrf.evaluate import Evidence


def main() -> None:
    devices.cache_programs()
    checks = {"thorough": lambda evidence: evidence, "quick": quick}
    scores = [f"{kind}: {show(kind, check)}" for kind, check in checks.items()]
    print("\n".join(["", *scores]))


def show(kind: str, check: Callable[[Evidence], Evidence]) -> str:
    """Prints a line for each case, ! where it is not as it should be; the score."""
    print(f"\nThe {kind} check\n")
    flagged = named = alarms = 0
    for case in (*BROKEN, *SOUND):
        said = names(check(measured(case)))
        causes = said & set(case.causes)
        good = bool(causes) if case.causes else not said
        flagged += bool(case.causes and said)
        named += bool(causes)
        alarms += bool(said and not case.causes)
        words = ", ".join(sorted(said)) or "believable"
        print(f"{' ' if good else '!'} {case.name}: {words}", flush=True)
    return (
        f"{flagged} of {len(BROKEN)} flagged, {named} named by their cause; "
        f"{alarms} false alarms of {len(SOUND)}"
    )


if __name__ == "__main__":
    main()
