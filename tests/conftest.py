"""Strict JAX for every test, four CPU devices, and compiled programs kept on disk."""

import gc
import os
from pathlib import Path

# Before JAX starts. Collectives of several CPU devices on few cores wait for each other
# forever unless the thread pool has a thread for each.
os.environ["NPROC"] = "32"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Installed or not, it has tests of its own; 1 runs the others with it.
os.environ.setdefault("NRF_ONEDNN", "0")

import jax  # noqa: E402
import pytest  # noqa: E402

# Most of the time goes into tracing and compiling programs that run once: without
# optimisation, each in one piece, and with a garbage collector that comes seldom.
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):  # Later ones do not know it, and would stop.
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", FLAGS)

from nrf import devices  # noqa: E402

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_debug_nans", True)
devices.cache_programs()
gc.set_threshold(20_000, 10, 10)


def pytest_collection_finish():
    """What was imported stays, and is not looked at again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def memory():
    """Programs of earlier files are dropped before they fill the memory."""
    yield
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    if pages * os.sysconf("SC_PAGE_SIZE") > 2**31:
        jax.clear_caches()
        gc.collect()  # Else they are not dropped yet, and the next file clears again.
