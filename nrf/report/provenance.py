"""How a run came about: its data sets, settings, command, machine and time."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from nrf.report import page
from nrf.report.results import Results, norm_name, percent, radius


def construction(results: Results) -> str:
    """A row for each set: how it was made and how far that got."""
    config = results.get("config") or {}
    matching = config.get("matching") or {}
    mislabelling = config.get("mislabelling") or {}
    toward = mislabelling.get("attack") or {}
    matched, attacks = _by_set(results, "matching"), _by_set(results, "attacks")
    rows: list[list[str]] = []
    for name in ("D_R", "D_NR", *matched):
        if name in (row[0] for row in rows):
            continue
        source = "an adversarially trained" if name == "D_R" else "a standard"
        how = f"matching the features of {source} network"
        if matching:
            start = {"image": "another training image", "noise": "noise"}
            how += (
                f", from {start.get(matching['start'], matching['start'])}, "
                f"{matching['steps']} steps of {matching['step_size']:g} in ℓ₂"
                + _through(matching)
            )
        rows.append([name, how, _distance(matched.get(name, []))])
    for name in ("D_rand", "D_det", *attacks):
        if name in (row[0] for row in rows):
            continue
        target = "the next class" if name == "D_det" else "a class drawn at random"
        how = f"attacking a standard network towards {target}"
        if toward:
            how += (
                f", {norm_name(toward['norm'])}, "
                f"ε = {radius(toward['norm'], toward['epsilon'])}, "
                f"{toward['steps']} steps of {toward['step_size']:g}"
                + _through(mislabelling)
            )
        rows.append([name, how, _reached(attacks.get(name, []))])
    return page.section(
        "How the sets were made",
        page.table(["set", "made by", "outcome, mean over seeds"], rows),
        page.paragraph(
            "Distances are those of features, ‖g(x′) − g(x)‖₂, before and after. "
            "Target reached: how often the attacked network itself gives the new "
            "label, on the images of the set.",
            note=True,
        ),
    )


def _by_set(results: Results, what: str) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for entry in results.get(what) or []:
        found[entry["set"]].append(entry)
    return dict(found)


def _distance(entries: list[dict[str, Any]]) -> str:
    if not entries:
        return "not recorded"
    start = statistics.fmean(entry["start_distance"] for entry in entries)
    final = statistics.fmean(entry["final_distance"] for entry in entries)
    left = f", {percent(final / start)} of it left" if start else ""
    return f"distance {start:.3g} → {final:.3g}{left}"


def _reached(entries: list[dict[str, Any]]) -> str:
    if not entries:
        return "not recorded"
    reached = statistics.fmean(entry["reached_target"] for entry in entries)
    return (
        f"target reached by {percent(reached)}, "
        f"largest change {max(entry['max_norm'] for entry in entries):.3g}"
    )


def record(results: Results) -> str:
    """Command, date, versions and device; seconds and config folded away."""
    versions = results.get("versions") or {}
    facts = {
        "command": results.get("command"),
        "date": results.get("date"),
        "git": results.get("git"),
        "device": results.get("device"),
        "versions": ", ".join(f"{name} {v}" for name, v in versions.items()),
    }
    seconds = results.get("seconds") or {}
    total = sum(seconds.values())
    spent = [[stage, f"{value:,.1f}"] for stage, value in seconds.items()]
    return page.section(
        "Where the numbers come from",
        page.table(
            ["what", "value"], [[k, str(v)] for k, v in facts.items() if v is not None]
        ),
        page.details(
            f"Seconds per stage ({total:,.0f} in all)",
            page.table(["stage", "seconds"], spent),
        )
        if seconds
        else "",
        page.details(
            "The whole config", page.code(json.dumps(results.get("config"), indent=2))
        ),
    )


def _through(settings: Mapping[str, Any]) -> str:
    if not settings.get("identity_relu"):
        return ""
    return ", gradients through the last ReLU as if it were the identity"
