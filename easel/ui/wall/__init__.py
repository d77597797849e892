"""The wall of a class: a page of its own at /wall, live, for a projector and for phones."""
