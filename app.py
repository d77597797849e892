"""Start Easel's page: ``python app.py``. Settings are environment variables, see the README."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Serve the page; a setting that is not valid ends with one sentence."""
    # Read once, when gradio and the hub client are imported: nothing leaves the machine.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    from pipelines.errors import EaselError
    from ui import launch

    try:
        launch.main()
    except EaselError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
