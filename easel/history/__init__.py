"""The history: every finished picture with its settings, in a database and a store of files."""
