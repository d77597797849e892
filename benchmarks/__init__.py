"""Measurements of the embedded models: composition, the models one by one, and speed."""
