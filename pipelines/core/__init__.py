"""What every part of the engine speaks: requests, options, events, errors, settings, files."""
