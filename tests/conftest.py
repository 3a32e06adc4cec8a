"""Strict JAX for every test, four CPU devices, and compiled programs kept on disk."""

import os

# Before JAX starts. Collectives of several CPU devices on few cores wait for each other
# forever unless the thread pool has a thread for each.
os.environ["NPROC"] = "32"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the time goes into compiling programs that run once.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

import jax  # noqa: E402

from nrf import devices  # noqa: E402

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_debug_nans", True)
devices.cache_programs()
