"""How processes find each other: what JAX answers by aborting is refused in words."""

import os
import socket
import time


def check(
    coordinator: str | None, processes: int | None, process: int | None, wait: float
) -> None:
    """Raises ValueError where JAX would abort, or wait for long."""
    if coordinator is None or processes is None or process is None:
        raise ValueError(
            "a run of several processes needs coordinator, processes and process, all "
            f"three or, on a cluster that JAX knows, none; got {coordinator}, "
            f"{processes} and {process}."
        )
    if processes < 1 or not 0 <= process < processes:
        raise ValueError(
            f"process must be in 0 .. {processes - 1}, one of {processes} that are "
            f"counted from 0, got {process}."
            if processes > 0
            else f"processes must be at least 1, got {processes}."
        )
    host, colon, port = coordinator.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(
            f"coordinator must be HOST:PORT of process 0, such as 10.0.0.1:8476, got "
            f"{coordinator!r}."
        )
    if process == 0:
        _check_port(int(port))
    else:
        _reach(host.strip("[]"), int(port), process, wait)


def _check_port(port: int) -> None:
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        server = socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise ValueError(
            f"port {port} of this host cannot be the coordinator's: "
            f"{os.strerror(error.errno or 0)}. Give all processes another one."
        ) from error
    server.close()


def _reach(host: str, port: int, process: int, wait: float) -> None:
    end = time.monotonic() + wait
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:  # Process 0 may be the last to come.
            if time.monotonic() > end:
                raise ValueError(
                    f"process {process} cannot reach {host}:{port} since {wait:g} s: "
                    f"{error.strerror or error}. Is process 0 running there, and may "
                    "this host connect to that port?"
                ) from error
        time.sleep(0.2)


def initialize(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    patience: float,
    wait: float,
) -> None:
    """`jax.distributed.initialize`, whose errors are ValueErrors in words."""
    import jax

    if getattr(jax.config, "jax_num_cpu_devices", 1) > 1:
        # Collectives of several CPU devices wait for each other forever, unless there
        # is a thread for each that is on its way.
        os.environ.setdefault("NPROC", "32")
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            cluster_detection_method=None if process is None else "deactivate",
            # What is told in words comes first.
            initialization_timeout=int(wait) + 60,
            heartbeat_timeout_seconds=int(patience) + 15,
        )
    except ValueError as error:
        raise ValueError(
            f"JAX finds no cluster here ({error}); it knows Slurm, TPU pods, GKE and "
            "Open MPI. Elsewhere give each process the coordinator's HOST:PORT, the "
            "number of processes and its own, from 0."
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"the processes cannot be joined: {error} Join them first of all."
        ) from error
