"""How a command line begins and ends: Ctrl+C from the first moment, one sentence for a fault.

Nothing here takes long to import: what does, a command line imports while Ctrl+C is minded.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_STOPPED = 1, 2, 130
STOPPED = "Stopped."
# Libraries that count at the end what was not given back, and print a page about it.
COUNTING = ("triton",)


def run_command(module: str, name: str, args: list[str] | None = None, backend: Any = None,
                stopped: str = STOPPED) -> int:
    """Run a command line.

    Args:
        module: where its ``app`` is, a Typer; imported here.
        name: as people call it.
        args: arguments, those of the process where None.
        backend: handed to the commands.
        stopped: what is said after Ctrl+C in the middle of a command.

    Returns:
        Exit code: 0, 1 for a failure, 2 for bad input, 130 after Ctrl+C. Whoever asked for JSON
        gets the sentence of a failure as ``{"error": …}`` too.
    """
    end_quickly()
    as_json = _wants_json(sys.argv[1:] if args is None else args)
    _replace_what_a_console_lacks()
    try:
        with ending_at_once():
            app = importlib.import_module(module).app
            import logging

            import typer

            from easel.settings import unknown_settings
            from pipelines.core.errors import EaselError, InvalidRequest, reason
    except KeyboardInterrupt:
        return _report(STOPPED, EXIT_STOPPED)
    logging.basicConfig(level=logging.CRITICAL)  # errors are reported in a sentence below
    for fault in unknown_settings():
        _report(fault, 0)
    try:
        command = _minding_ctrl_c(typer.main.get_command(app))
        code = command.main(args, standalone_mode=False, obj=backend, prog_name=name)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except InvalidRequest as error:
        return _report(str(error), EXIT_BAD_INPUT, as_json)
    except EaselError as error:
        return _report(str(error), EXIT_FAILED, as_json)
    except typer.TyperException as error:  # an argument too few, an option that is not there
        words = " ".join(error.format_message().split()).rstrip(".")
        return _report(f"{words}; try --help.", EXIT_BAD_INPUT, as_json)
    except (KeyboardInterrupt, _CtrlC, typer.Abort):
        # Ctrl+C in code from a text, of which dataclasses are made, lets Python end by the signal
        # whatever the exit code is, unless other such code has run since (CPython's pythonrun.c,
        # ``run_eval_code_obj``).
        exec("")
        return _report(stopped, EXIT_STOPPED, as_json)
    except BrokenPipeError:  # whoever read what is printed has read enough
        _print_no_more()
        return EXIT_FAILED
    except OSError as error:
        if error.filename is None:  # a console or pipe, which has no name
            _print_no_more()
        what = "What was to be printed" if error.filename is None else str(error.filename)
        return _report(f"{what} could not be written or read: {reason(error)}.", EXIT_FAILED,
                       as_json and error.filename is not None)


def _wants_json(args: Sequence[str]) -> bool:
    """Whether a command is asked for JSON, in words that may not make sense otherwise."""
    options = args[:args.index("--")] if "--" in args else args
    return "--json" in options


class _CtrlC(Exception):
    """Ctrl+C in the middle of a command: Typer would turn KeyboardInterrupt into silence."""


def _minding_ctrl_c(command: Any) -> Any:
    invoke = command.invoke

    def minded(context: Any) -> Any:
        try:
            return invoke(context)
        except KeyboardInterrupt:
            raise _CtrlC from None

    command.invoke = minded
    return command


def run_weights(args: list[str] | None = None) -> int:
    """Run the command line of the models' files, ``python -m pipelines.weights``.

    Args:
        args: arguments, those of the process where None.
    """
    return run_command("easel.cli.weights", "python -m pipelines.weights", args,
                       stopped="Stopped; what came so far is kept.")


def _report(sentence: str, code: int, as_json: bool = False) -> int:
    """Say how it ended on the error stream, where that is still open; returns the exit code.

    Args:
        sentence: what to say.
        code: the exit code.
        as_json: say it on the standard output as well, as JSON.
    """
    with suppress(OSError, ValueError):
        print(sentence, file=sys.stderr, flush=True)
    if as_json:
        try:
            import json

            print(json.dumps({"error": sentence}, indent=1), flush=True)
        except (OSError, ValueError):
            _print_no_more()
    return code


def _replace_what_a_console_lacks() -> None:
    """Let letters that a console or pipe cannot show become question marks, not errors."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and getattr(stream, "errors", "") == "strict":
            reconfigure(errors="replace")


def _print_no_more() -> None:
    """Throw away what is still to be printed, so that the end of Python does not try again."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, sys.stdout.fileno())
        except (OSError, ValueError):  # not a stream of the system, as in tests
            return
        finally:
            os.close(nowhere)


def end_quickly() -> None:
    """Let the process, once it ends, look for no memory to give back: with torch and Gradio that
    takes seconds, and the system takes back all of it anyway."""
    atexit.register(_leave_memory)


def _leave_memory() -> None:
    if any(name in sys.modules for name in COUNTING):
        gc.unfreeze()
    else:
        gc.freeze()


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Let Ctrl+C end the process while modules are imported, of which some catch what they should
    not; there is nothing to keep yet."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        _report(STOPPED, EXIT_STOPPED)
        os._exit(EXIT_STOPPED)

    previous = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
