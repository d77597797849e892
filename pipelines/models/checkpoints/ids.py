"""Ids of models that other code names, free of what it takes to load them."""

EMBEDDED = "embedded/"  # how the ids of those that ship begin
RANKER = "embedded/clip-ranker"
GUIDE = "embedded/clip-guide"
