"""Start Easel's page: ``python app.py``. Settings are environment variables, see the README."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def _refuse_arguments(arguments: Sequence[str] | None) -> None:
    """Settings are variables: arguments are refused, and ``--help`` lists the variables."""
    import argparse

    from easel.settings import settings_help

    argparse.ArgumentParser(
        prog="app.py", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serve Easel's page. It takes no arguments but settings from the environment:"
                    "\n\n    EASEL_PORT=8000 python app.py",
        epilog="settings:\n" + settings_help()).parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page; a setting that is not valid, and Ctrl+C, end with one sentence."""
    try:
        _serve(arguments)
    except KeyboardInterrupt:  # before there is anything to drain, or a second time
        sys.stderr.write("Stopped.\n")
        sys.exit(130)


def _serve(arguments: Sequence[str] | None) -> None:
    from easel.cli.start import end_quickly, ending_at_once
    from easel.garbage import without_collection

    end_quickly()
    _refuse_arguments(arguments)
    # Read once, when gradio and the hub client are imported: nothing leaves the machine.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    from easel.settings import load_settings
    from pipelines.core.errors import EaselError

    try:
        settings = load_settings()  # before the page is imported, which takes seconds
        # Uploads and finished pictures. Gradio reads it when it is imported, to make a folder of
        # its own there, and when components are made.
        os.environ.setdefault("GRADIO_TEMP_DIR", str((settings.data_dir / "cache").resolve()))
        with ending_at_once(), without_collection():
            from easel import launch
        launch.main()
    except EaselError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
