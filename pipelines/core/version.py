"""The version of Easel, in every picture's metadata."""

__version__ = "0.1.0"
