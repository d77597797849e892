"""Commands of ``python -m pipelines`` beside ``generate``."""
