"""Easel's version, which pictures and comparisons name."""

__version__ = "0.1.0"
