"""Where weights come from: the catalogue, downloads, pins, and loaders by format."""
