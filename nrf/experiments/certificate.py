"""Certificates as files, written whole and read unchanged; two of them compared."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nrf.evaluate import statistics
from nrf.runs import store

LAYOUT = "nrf certificate 1"

Certificate = dict[str, Any]  # As it is read from JSON.


class Comparison(NamedTuple):
    """What agrees with a certificate and what does not, in sentences."""

    agrees: list[str]
    differs: list[str]
    notes: list[str]  # What else should be known of a difference.

    @property
    def holds(self) -> bool:
        return not self.differs

    def __str__(self) -> str:
        lines = [f"✓ {sentence}" for sentence in self.agrees]
        lines += [f"✗ {sentence}" for sentence in self.differs]
        verdict = "holds" if self.holds else "does not hold"
        return "\n".join([*lines, *self.notes, f"The certificate {verdict}."])


def seal(parts: Certificate) -> Certificate:
    """The certificate with its layout and the digest of all that it says."""
    # As it is read from a file: with lists for tuples.
    plain = json.loads(json.dumps({"layout": LAYOUT, **parts}))
    return {**plain, "sha256": _digest(plain)}


def write(path: Path | str, certificate: Certificate) -> Path:
    """Writes the file whole or not at all.

    Raises:
      ValueError: as `check_new`.
      OSError: it cannot be written.
    """
    path = Path(path)
    check_new(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(certificate, indent=1, ensure_ascii=False)
    return store.write(path, f"{text}\n".encode())


def check_new(path: Path | str) -> None:
    """Refuses a place for a certificate before the attack, which may take an hour.

    Raises:
      ValueError: there is a file already.
      OSError: nothing can be written there.
    """
    path = Path(path)
    if path.exists():
        raise ValueError(
            f"{path} is there already, and a certificate is not written over; move it "
            "away or choose another --out."
        )
    store.check_writable(path.parent)


def read(path: Path | str) -> Certificate:
    """The certificate in a file.

    Raises:
      ValueError: there is none, it was changed since it was written, or it has another
        layout.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no certificate {path}.")
    try:
        certificate = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not JSON ({error}).") from error
    check_whole(certificate, str(path))
    return certificate


def check_whole(certificate: Any, name: str) -> None:
    """Raises ValueError unless it is a certificate that nobody changed."""
    if not isinstance(certificate, dict) or "layout" not in certificate:
        raise ValueError(f"{name} is not a certificate; `nrf verify` makes them.")
    if certificate["layout"] != LAYOUT:
        raise ValueError(
            f"{name} has the layout {certificate['layout']!r}, and this nrf reads "
            f"{LAYOUT!r}; was it made by another version?"
        )
    rest = {part: value for part, value in certificate.items() if part != "sha256"}
    if certificate.get("sha256") != _digest(rest):
        raise ValueError(
            f"{name} is damaged: what it says has another digest than it had when it "
            "was made."
        )


def _digest(rest: Certificate) -> str:
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def compare_digests(said: Certificate, here: Mapping[str, Any]) -> Comparison:
    agrees, differs = [], []
    images, own = said["images"], here["images"]
    for what, certified, found in (
        ("weights", said["weights"]["sha256"], here["weights"]["sha256"]),
        ("code", said["code"]["sha256"], here["code"]["sha256"]),
        ("images", images["sha256"], own["sha256"]),
        ("labels", images["labels_sha256"], own["labels_sha256"]),
    ):
        if certified == found:
            agrees.append(f"The {what}: as certified.")
        else:
            differs.append(
                f"The {what}: others, with SHA-256 {found[:12]}… instead of "
                f"{certified[:12]}…."
            )
    if images["count"] != own["count"]:
        differs.append(f"There are {own['count']} images instead of {images['count']}.")
    notes = ["Nothing was attacked: counts of others would say nothing."]
    return Comparison(agrees, differs, notes if differs else [])


def compare_counts(
    so_far: Comparison, said: Certificate, made: Certificate
) -> Comparison:
    """What was measured again, added to what was compared before."""
    agrees, differs = list(so_far.agrees), list(so_far.differs)
    total = made["counts"]["total"]
    for name, count in _named_counts(made).items():
        certified = _named_counts(said).get(name)
        if count == certified:
            agrees.append(f"{name}: {count} of {total}.")
        else:
            differs.append(f"{name}: {count} of {total} instead of {certified}.")
    a, b = (statistics.unpack(one["right"], total) for one in (said, made))
    moved = np.flatnonzero(a != b)
    if moved.size:
        shown = ", ".join(map(str, moved[:10])) + (", …" if moved.size > 10 else "")
        differs.append(f"Images that withstand in one of both only: {shown}.")
    certified, found = (one["evidence"]["verdict"] for one in (said, made))
    if certified == found:
        agrees.append(f"The evidence: {found}.")
    else:
        differs.append(f"The evidence: {found} instead of {certified}.")
    for of in ("clean", "withstood"):
        a, b = (np.array(one["intervals"][of]) for one in (said, made))
        if not np.allclose(a, b, atol=1e-6):
            differs.append(f"The interval of {of}: {b.round(4)} instead of {a}.")
    return Comparison(agrees, differs, _elsewhere(said, made) if differs else [])


def _named_counts(certificate: Certificate) -> dict[str, int]:
    clean, *attacked = certificate["counts"]["components"].items()
    named = {f"Left after {name}": count for name, count in attacked}
    left = certificate["counts"]["withstood"]
    return {"Right without attack": clean[1], **named, "Withstood": left}


def _elsewhere(said: Certificate, made: Certificate) -> list[str]:
    """What the two were made with, where that is not the same."""
    a, b = ({**one["versions"], "device": one["device"]} for one in (said, made))
    others = [
        f"{name} {b.get(name, 'missing')} instead of {a.get(name, 'missing')}"
        for name in sorted({*a, *b})
        if a.get(name) != b.get(name)
    ]
    if not others:
        return []
    return [
        f"Here: {'; '.join(others)}. Rounding can move single images; more than a few "
        "have another reason."
    ]
