"""Batches over devices: the only package that knows how many there are.

Steps and attacks are written for one device. A batch split over the mesh, beside
parameters copied to all of it, makes `jax.jit` run them on every device; BatchNorm then
sees the whole batch, and no result depends on the number of devices.
"""

from nrf.devices.maps import Parts, Shards, map_examples
from nrf.devices.mesh import (
    check_batch,
    copy,
    fetch,
    for_training,
    make_mesh,
    own,
    sharing,
    split,
)
from nrf.devices.start import cache_programs, check_settings, share_cpu

__all__ = [
    "Parts",
    "Shards",
    "cache_programs",
    "check_batch",
    "check_settings",
    "copy",
    "fetch",
    "for_training",
    "make_mesh",
    "map_examples",
    "own",
    "share_cpu",
    "sharing",
    "split",
]
