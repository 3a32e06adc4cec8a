"""Ends all processes of a run when one ends: nobody waits for what will not come.

A thread of each process says that it is alive, and hears whether the run is to end. A
main thread that waits for devices hears nothing, so that the thread ends the process
itself. Only process 0 is asked first, by SIGTERM: it keeps what it has, as where it is
alone. JAX's coordination service ends with process 0, which therefore goes last.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

_STOP, _ALIVE, _DONE, _LEFT = (f"nrf/{it}/" for it in ("stop", "alive", "done", "left"))
_SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}  # With their exit codes.
_BEAT = 0.5  # Seconds between two looks.
_GRACE = 30.0  # Seconds that process 0 has to keep what it has,
_LAST = 5.0  # and that it then waits for the others to go.


class Watcher:
    """What a process knows of the others, by JAX's coordination service `client`.

    Args:
      client: Of that service.
      process: The number of this one.
      processes: How many there are.
      name: This process, in words.
      patience: Seconds after which one that is not heard of counts as dead.
    """

    def __init__(
        self, client: Any, process: int, processes: int, name: str, patience: float
    ):
        self.client, self.process, self.name = client, process, name
        self.others = [str(other) for other in range(processes) if other != process]
        self.patience = patience
        self.over = threading.Event()
        self.interrupted = False  # Process 0's main thread has had a signal,
        self.leaving = False  # or a main thread has come to an end by itself.
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def begin(self) -> None:
        """Begins to watch; called by the main thread, where signals arrive."""
        for number, code in _SIGNALS.items():
            before = signal.getsignal(number)
            handler = before  # Set again: JAX put one of its own in its place.
            if self.process and before is not signal.SIG_IGN:
                handler = self._told_to_all(code)
            elif callable(before):
                handler = self._noted(before)
            signal.signal(number, handler)
        _at_abort(
            f"{self.name} has lost process 0, or JAX has ended it in the words above. "
            "The same commands go on."
        )
        self.thread.start()

    def end(self) -> None:
        """Stops watching: all processes are done, and well."""
        self.over.set()
        self.thread.join()
        _at_abort(None)

    def tell(self, words: str, code: int) -> None:
        """Ends the run on the other processes; to be followed by `leave`."""
        self.leaving = True
        self._tell(f"{self.name}: {words}", code, by=self.process)

    def leave(self, code: int) -> NoReturn:
        """Ends this process, with the code of the first that told, who says why."""
        self.leaving = True
        said = self._told() or {"by": self.process, "code": code}
        if code not in _SIGNALS.values():  # For an error of its own, which it has told.
            said["by"] = self.process
        self._end(said)

    def wait_for_reason(self) -> bool:
        """Whether another process tells why this one has an error, in good time."""
        self.interrupted = True  # This asks for itself.
        end = time.monotonic() + self.patience + 4 * _BEAT
        while not (told := self._told()) and time.monotonic() < end:
            time.sleep(_BEAT / 5)
        return told is not None

    def _told_to_all(self, code: int) -> Callable:
        # The main thread goes on: process 0 may need it, to come to its own end.
        return lambda number, frame: self._tell(f"{self.name} was stopped.", code)

    def _noted(self, before: Callable) -> Callable:
        def handler(number: int, frame: Any) -> Any:
            self.interrupted = True
            return before(number, frame)

        return handler

    def _tell(self, words: str, code: int, by: int | None = None) -> None:
        said = json.dumps({"words": words, "code": code, "by": by})
        with contextlib.suppress(Exception):  # Another was first; or nobody hears it.
            self.client.key_value_set(f"{_STOP}0", said)

    def _told(self) -> dict[str, Any] | None:
        with contextlib.suppress(Exception):
            for _, said in self.client.key_value_dir_get(_STOP):
                return json.loads(said)
        return None

    def _watch(self) -> None:
        heard = dict.fromkeys(self.others, ("", time.monotonic()))
        while not self.over.wait(_BEAT):
            with contextlib.suppress(Exception):  # JAX ends this process if it is lost.
                now = time.monotonic()
                self._set(f"{_ALIVE}{self.process}", str(now))
                if self.process == 0:
                    self._listen(heard, now)
            if (said := self._told()) and not self.leaving:
                self._stop(said)

    def _listen(self, heard: dict[str, tuple[str, float]], now: float) -> None:
        beats = self.client.key_value_dir_get(_ALIVE)
        for other, beat in ((key.removeprefix(_ALIVE), beat) for key, beat in beats):
            if other in heard and heard[other][0] != beat:
                heard[other] = beat, now
        silent = [k for k, (_, at) in heard.items() if now - at > self.patience]
        if silent:
            self._tell(
                f"process {', '.join(silent)} has not been heard of for "
                f"{self.patience:g} s. The same commands go on.",
                1,
            )

    def _stop(self, said: dict[str, Any]) -> None:
        """Ends this process while its main thread is somewhere in its work."""
        # Where nobody catches it, SIGTERM would end this process without a word.
        if self.process == 0 and callable(signal.getsignal(signal.SIGTERM)):
            if not self.interrupted:
                os.kill(os.getpid(), signal.SIGTERM)
            self._wait(lambda: self.leaving, _GRACE)
            if self.leaving:
                time.sleep(2 * _LAST)  # `leave` takes less.
        elif said["code"] in _SIGNALS.values():
            self._wait(lambda: self.client.key_value_dir_get(_DONE), _GRACE)
        self._end(said)

    def _end(self, said: dict[str, Any]) -> NoReturn:
        if said["by"] != self.process:
            print(said["words"], file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if self.process == 0:
            self._set(f"{_DONE}0", "")
            gone = len(self.others)
            self._wait(lambda: len(self.client.key_value_dir_get(_LEFT)) == gone, _LAST)
        self._set(f"{_LEFT}{self.process}", "")
        os._exit(said["code"])

    def _set(self, key: str, value: str) -> None:
        with contextlib.suppress(Exception):
            self.client.key_value_set(key, value, allow_overwrite=True)

    def _wait(self, done: Callable[[], Any], seconds: float) -> None:
        end = time.monotonic() + seconds
        with contextlib.suppress(Exception):
            while not done() and time.monotonic() < end:
                time.sleep(_BEAT / 5)


@contextlib.contextmanager
def deadline(seconds: float, words: str) -> Iterator[None]:
    """Ends the process in words, with code 1, if what is inside takes longer."""
    timer = threading.Timer(seconds, _exit, (words,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _exit(words: str) -> NoReturn:
    # Not by print: at an abort nobody knows who holds which lock.
    os.write(2, f"{words}\n".encode(errors="replace"))
    os._exit(1)


_kept: list[Any] = []  # C code calls it: it must not be collected.


def _at_abort(words: str | None) -> None:
    """What is said when C++ code aborts; None: nothing.

    JAX does so when it loses the coordination service. Python's own handlers would run
    after the abort, which is never.
    """
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    handler = kind(lambda number: _exit(words)) if words else kind(int(signal.SIG_DFL))
    _kept[:] = [handler]
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)
