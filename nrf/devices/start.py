"""What is asked of JAX before it starts, and what it must be set to."""

import contextlib
import os

import jax

CPUS = 2  # Devices that the cores of a machine are shared by, however many there are.


def share_cpu() -> None:
    """Makes two devices of the processor, if JAX is not up: maps keep two cores busy.

    One device leaves a second core idle for most of the time. There are always as many,
    so that results are the same on every machine. Nothing is changed where somebody has
    said how many there are, in one of a run's several processes, or on other devices.
    """
    said = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    asked = getattr(jax.config, "jax_num_cpu_devices", -1)
    if said or asked >= 0 or jax.distributed.is_initialized():
        return
    # JAX refuses this when it is up, and then keeps what it has.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", CPUS)


def cache_programs() -> None:
    """Keeps compiled programs on disk, for the next run: ~/.cache/nrf.

    $JAX_COMPILATION_CACHE_DIR names another folder. Without it, and without a home,
    programs are compiled anew in every run.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", "~/.cache/nrf")
    folder = os.path.expanduser(folder)
    if folder.startswith("~"):  # As it was: nobody knows where that is.
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # An address, of nrf.models.onednn, by which no process would find another's.
    jax.config.update("jax_remove_custom_partitioning_ptr_from_cache_key", True)


def check_settings() -> None:
    """Raises ValueError under settings of JAX that would draw other random numbers.

    Other settings change results by rounding only, and manifests record them.
    """
    for name, needed, variable in (
        ("jax_enable_x64", False, "JAX_ENABLE_X64"),
        ("jax_threefry_partitionable", True, "JAX_THREEFRY_PARTITIONABLE"),
    ):
        if (value := getattr(jax.config, name)) != needed:
            raise ValueError(
                f"{name} is {value}, with which the same seed means other random "
                f"numbers; runs need {needed}. Unset ${variable}, or write "
                f"jax.config.update({name!r}, {needed})."
            )
