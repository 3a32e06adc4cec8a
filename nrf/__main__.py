"""The command: nrf run digits --out runs/digits

    nrf run CONFIG --out DIR       an experiment, a study or the theory
    nrf report DIR                 its report again
    nrf compare DIR DIR ...        a table and a page over several runs
    nrf verify RUN --network NAME  a certificate of a robust accuracy, or its check
    nrf import FILE --as LAYOUT    weights and sets that others made
    nrf export RUN --to PATH       a network or a set, for others
    nrf prepare-cifar10            CIFAR-10 for TensorFlow Datasets, without TensorFlow
    nrf prepare-restricted-imagenet    nine groups of classes of TFDS's imagenet2012

`python -m nrf` and the files in scripts/ are other doors to the same functions.
"""

import io
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro

import nrf
from nrf import hosts, stops
from nrf.config import Experiment, Theory, Transfer, Verify, options

# JAX starts, and other modules are imported, when options are known to be right.

_USAGE = """usage: {begin} CONFIG --out DIR [options]

CONFIG is a file, or the name of one that comes with nrf: {configs}.
`{begin} CONFIG --help` lists its options: every field of the config is one."""


def main(args: Sequence[str] | None = None, *, script: str = "") -> int:
    """Runs a command and returns the exit code; `script` is what stands for it.

    That is 0; 1 after an error, which is told in words; 2 after options that are wrong;
    130 after Ctrl-C and 143 after SIGTERM.
    """
    args = list(sys.argv[1:] if args is None else args)
    module = sys.argv[0].endswith("__main__.py")
    program = ["python", "-m", "nrf"] if module else ["nrf"]
    name, rest = (args[0], args[1:]) if args else ("--help", [])
    begin = ["python", script] if script else [*program, name]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A terminal may not have ± and ✓.
            stream.reconfigure(errors="replace")
    if name in ("-h", "--help"):
        print(__doc__)
        return 0
    if name == "--version":
        print(f"nrf {nrf.__version__}")
        return 0
    if name not in _COMMANDS:
        meant = f" Did you mean nrf run {name}?" if name in options.shipped() else ""
        known = ", ".join(_COMMANDS)
        return _fail(f"nrf has no command {name!r}; it has {known}.{meant}", 2)
    return hosts.leave(_attempt(name, rest, begin))


def _attempt(name: str, rest: list[str], begin: list[str]) -> int:
    try:
        return _COMMANDS[name](rest, begin)
    except options.OptionError as error:
        return _fail(str(error), 2)
    except (ValueError, OSError, FloatingPointError) as error:
        return _fail(in_words(error))
    except KeyboardInterrupt:  # Where nothing is worth keeping.
        return _fail("stopped.", 130)
    except Exception as error:
        if not hosts.started():
            raise
        if isinstance(error, RuntimeError) and hosts.wait_for_reason():
            return 143  # It is stopped by another process, which says why.
        traceback.print_exc()
        return _fail(f"{type(error).__name__}: {error}")


def in_words(error: Exception, out: Path | None = None) -> str:
    """An error for people to read; `out` is where files were being written.

    The system's own errors name no file when it is a write that fails.
    """
    if isinstance(error, OSError) and error.strerror:
        where = error.filename or out
        return f"{where}: {error.strerror}" if where else error.strerror
    return str(error) or type(error).__name__


def _run(args: list[str], begin: list[str]) -> int:
    """Makes what a config describes, with its report."""
    if not args or args[0].startswith("-"):
        configs = ", ".join(options.shipped())
        usage = _USAGE.format(begin=shlex.join(begin), configs=configs)
        if {"-h", "--help"} & set(args):
            print(usage)
            return 0
        return _fail(usage, 2)
    config = options.load(args[0])
    if not isinstance(config, Experiment | Transfer | Theory):
        raise ValueError(
            f"{args[0]} has a config of type {type(config).__name__}; nrf runs "
            "Experiment, Transfer and Theory of nrf.config."
        )
    parsed = options.parse(config, args[1:], prog=shlex.join([*begin, args[0]]))
    for folder in parsed.flags.reuse:
        if not folder.is_dir():
            raise options.OptionError(f"--reuse: there is no folder {folder}.")
    command = shlex.join([*begin, *args])
    try:
        with stops.terminable():
            return _show_plan(parsed) if parsed.flags.plan else _make(parsed, command)
    except OSError as error:
        raise OSError(in_words(error, parsed.out)) from error
    except KeyboardInterrupt as stop:
        code = 143 if isinstance(stop, stops.Terminated) else 130
        kept = ", and ".join([*stops.kept(parsed.out), *getattr(stop, "__notes__", [])])
        words = f"\nStopped; {parsed.out} keeps {kept}. To go on: {command}"
        return _fail(words, code)


def _make(parsed: options.Parsed, command: str) -> int:
    from nrf import devices, report
    from nrf.runs import progress, store

    experiment = _module(parsed.config)
    if parsed.flags.hosts is not None:
        hosts.start(**parsed.flags.hosts)
        store.check_writable(parsed.out)
        hosts.check_shared(parsed.out)
    devices.cache_programs()
    quiet = parsed.flags.quiet or not hosts.first()
    told = progress.Progress() if quiet else progress.for_stream()
    if parsed.flags.tensorboard and hosts.first():
        from nrf.exchange.board import Board

        told = progress.Both(told, Board(parsed.flags.tensorboard, parsed.out))
    try:
        results = experiment.run(
            parsed.config,
            parsed.out,
            progress=told,
            reuse=parsed.flags.reuse,
            command=command,
        )
    finally:
        told.close()
    page = hosts.together(lambda: str(report.write(parsed.out)))
    if not hosts.first():
        return 0
    if isinstance(parsed.config, Experiment):
        print(f"\n{report.table(results)}\n")
    if isinstance(parsed.config, Transfer):
        print(f"\n{report.transfer.table(results)}\n")
    print(page)
    return 0


def _module(config: Any) -> ModuleType:
    """What runs configs of this type."""
    from nrf.experiments import main, theory, transfer

    kinds = {Experiment: main, Transfer: transfer, Theory: theory}
    return next(module for kind, module in kinds.items() if isinstance(config, kind))


def _show_plan(parsed: options.Parsed) -> int:
    from nrf import experiments
    from nrf.config.accelerators import ACCELERATORS, assumed
    from nrf.runs import plan

    where = parsed.flags.plan
    device = where if where in ACCELERATORS else None
    steps = experiments.plan(
        parsed.config, parsed.out, reuse=parsed.flags.reuse, device=device
    )
    print(plan.table(steps))
    if device:
        print(assumed(device))
    return 0


def _report(args: list[str], begin: list[str]) -> int:
    def report(run: Annotated[Path, tyro.conf.Positional], /) -> Path:
        """Makes the report of a run again.

        Args:
            run: The folder that was --out.
        """
        from nrf import report

        return report.write(run)

    print(tyro.cli(report, prog=shlex.join(begin), args=args))
    return 0


def _compare(args: list[str], begin: list[str]) -> int:
    def compare(
        runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
        /,
        page: Path | None = None,
    ) -> tuple[str, Path]:
        """Compares main experiments: prints a table and writes a page.

        Args:
            runs: Their folders.
            page: File of the page; comparison.html beside the first run's folder.
        """
        from nrf import report
        from nrf.runs import store

        if not runs:
            raise options.OptionError("give folders of runs, such as runs/digits.")
        page = page or runs[0].resolve().parent / "comparison.html"
        comparison = report.compare(runs, page)
        return comparison.table, store.write(page, comparison.html.encode())

    table, page = tyro.cli(compare, prog=shlex.join(begin), args=args)
    print(f"\n{table}\n{page}")
    return 0


def _verify(args: list[str], begin: list[str]) -> int:
    """Writes a certificate, or measures one again: 1 where it does not hold."""
    named = bool(args) and not args[0].startswith("-")
    source, rest = (args[0], args[1:]) if named else (None, args)
    asked = tyro.cli(Verify, prog=f"{shlex.join(begin)} [SOURCE]", args=rest)
    try:
        asked.require(source)
    except ValueError as error:
        raise options.OptionError(str(error)) from error
    from nrf import devices
    from nrf.experiments import subject

    devices.cache_programs()
    devices.share_cpu()
    if asked.check:
        comparison = subject.check(asked, source)
        print(comparison)
        return 0 if comparison.holds else 1
    print(subject.certify(asked, str(source)))
    return 0


def _exchange(args: list[str], begin: list[str]) -> int:
    """Import or export, by the last word of `begin`."""
    from nrf.exchange import commands

    make = commands.export if begin[-1] == "export" else commands.import_
    print(make(args, begin))
    return 0


def _prepare_cifar10(args: list[str], begin: list[str]) -> int:
    def prepare(data_dir: Path | None = None, archive: Path | None = None) -> Path:
        """Prepares CIFAR-10, about 170 MB, in a minute, and prints its folder.

        Args:
            data_dir: Where data sets are kept; $TFDS_DATA_DIR or ~/tensorflow_datasets.
            archive: Your copy of cifar-10-binary.tar.gz, where there is no network.
        """
        from nrf.data import cifar10

        return cifar10.prepare(data_dir, archive)

    print(tyro.cli(prepare, prog=shlex.join(begin), args=args))
    return 0


def _prepare_restricted_imagenet(args: list[str], begin: list[str]) -> int:
    def prepare(data_dir: Path | None = None, side: int = 224) -> Path:
        """Makes Restricted ImageNet of TFDS's imagenet2012, and prints its folder.

        It has up to 41 GB, fewer with smaller images.

        Args:
            data_dir: Where data sets are kept; $TFDS_DATA_DIR or ~/tensorflow_datasets.
            side: Of the images in pixels.
        """
        import tqdm

        from nrf.data import imagenet

        with tqdm.tqdm(total=imagenet.EXAMPLES, unit=" images", delay=1) as bar:
            return imagenet.prepare(data_dir, side=side, tick=bar.update)

    print(tyro.cli(prepare, prog=shlex.join(begin), args=args))
    return 0


def _fail(words: str, code: int = 1) -> int:
    print(words, file=sys.stderr)
    hosts.tell(words.strip(), code)
    return code


_COMMANDS = {
    "run": _run,
    "report": _report,
    "compare": _compare,
    "verify": _verify,
    "import": _exchange,
    "export": _exchange,
    "prepare-cifar10": _prepare_cifar10,
    "prepare-restricted-imagenet": _prepare_restricted_imagenet,
}

if __name__ == "__main__":
    sys.exit(main())
