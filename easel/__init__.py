"""The application: command line, page, history, search and comparisons on the engine."""
