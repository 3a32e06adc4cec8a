"""What goes with a network or a set into the world: where it is from, what it can."""

import json
from collections.abc import Mapping
from typing import Any

from nrf.runs import Run, manifest

_HEAD = """---
tags: [adversarial-robustness, "arxiv:1905.02175"]
{more}---

# {title}
"""
_PARQUET = """task_categories: [image-classification]
configs:
- config_name: default
  data_files: data/*.parquet
"""


def network_card(
    run: Run,
    name: str,
    seed: int,
    use: str,
    certificate: Mapping[str, Any] | None = None,
) -> str:
    """The model card of a network of a run, in Markdown.

    Args:
      run: The run, or one that `nrf import` made.
      name, seed: Of the network.
      use: A program that loads it.
      certificate: Of its robust accuracy, as `nrf verify` makes them.
    """
    said = manifest.read(run.path(name, seed))
    parts = [
        _HEAD.format(title=f"{name}, seed {seed}", more="library_name: nrf\n"),
        _trained(run, said),
        f"## Accuracy\n\n{_accuracies(run, name, seed)}",
        f"## Certificate\n\n{_certificate(certificate)}",
        f"## Use\n\nImages are [B, H, W, C] in [0, 1].\n\n```python\n{use}\n```",
        _origin(said),
    ]
    return "\n".join(f"{part.strip()}\n" for part in parts)


def _trained(run: Run, said: Mapping[str, Any]) -> str:
    settings = said["about"]["settings"]
    if "training" in settings:
        attack = settings["training"]["attack"]
        how = "Trained adversarially" if attack else "Trained in the standard way"
        on, *_ = said["about"]["inputs"]  # Then come the test images.
        where = f"{how} on {_set_words(run, on)}."
    else:
        where = f"Trained elsewhere: read from `{settings['file']}`."
    classes = ", ".join(run.results["classes"])
    return f"{where} Classes: {classes}.\n\n{_fenced(settings)}"


def _set_words(run: Run, name: str) -> str:
    data = run.results.get("data") or "unnamed data"
    note = run.results.get("data_note")
    of = f"`{data}` ({note})" if note else f"`{data}`"
    text = next(
        (one["text"] for one in run.results.get("sets", []) if one["name"] == name), ""
    )
    return f"{of}" if name == "D" else f"{name}, made of {of}: {text.rstrip('.')}"


def _fenced(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=1, ensure_ascii=False)}\n```"


def _accuracies(run: Run, name: str, seed: int) -> str:
    rows = [
        row
        for part in ("rows", "students")
        for row in run.results.get(part, [])
        if row["network"] == name and row["seed"] == seed
    ]
    if not rows:
        return "Nothing was measured in this run."
    lines = ["| attack | radius | right | evidence |", "| --- | --- | --- | --- |"]
    for row in rows:
        radius = f"{row['norm']} {row['epsilon']:g}" if row["norm"] else "–"
        share = f"{100 * row['correct'] / row['total']:.1f} %"
        verdict = row.get("evidence", {}).get("verdict", "–")
        count = f"{row['correct']} of {row['total']}: {share}"
        lines.append(f"| {row['attack']} | {radius} | {count} | {verdict} |")
    lines += [
        _autoattack(row)
        for row in run.results.get("autoattack", [])
        if row["network"] == name and row["seed"] == seed
    ]
    return "\n".join(lines) + "\n\nOn test images; radii in pixels in [0, 1]."


def _autoattack(row: Mapping[str, Any]) -> str:
    left = min(row["withstood"].values())
    share = f"{left} of {row['total']}: {100 * left / row['total']:.1f} %"
    verdict = row["evidence"]["autoattack"]["verdict"]
    return f"| AutoAttack | {row['norm']} {row['epsilon']:g} | {share} | {verdict} |"


def _certificate(certificate: Mapping[str, Any] | None) -> str:
    if certificate is None:
        return "None was made; `nrf verify` makes one."
    low, high = (100 * end for end in certificate["intervals"]["withstood"])
    return (
        f"{certificate['claims']} 95 % interval of the share: {low:.1f} to {high:.1f} "
        f"%. The evidence: {certificate['evidence']['verdict']}. "
        f"{' '.join(certificate['leaves_open'])} SHA-256 of the certificate: "
        f"`{certificate['sha256']}`."
    )


def set_card(run: Run, name: str, seed: int, text: str, parquet: bool) -> str:
    """The card of a set of a run; `text` is on how its files are read."""
    made, path = run.set(name, seed=seed), run.path(name, seed)
    count, size = len(made.labels), " x ".join(map(str, made.images.shape[1:]))
    parts = [
        _HEAD.format(title=f"{name}, seed {seed}", more=_PARQUET if parquet else ""),
        f"{count} images of {size}, made to study robust and non-robust features of "
        f"image classifiers: {_set_words(run, name)}. Labels are to be learned, and "
        "are not always what people see.",
        text,
        f"Classes: {', '.join(made.names)}.\n\n{_fenced(made.provenance)}",
        _origin(manifest.read(path)),
    ]
    return "\n".join(f"{part.strip()}\n" for part in parts)


def _origin(said: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in said["versions"].items())
    return (
        f"## Origin\n\nMade by `nrf` (commit {said['git'] or 'unknown'}) on "
        f"{said['created'][:10]}, {said['device']}; {versions}. SHA-256 of the "
        f"content: `{said['content']}`."
    )
