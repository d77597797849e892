"""Ids of models that other code names, free of what it takes to load them."""

RANKER = "embedded/clip-ranker"
