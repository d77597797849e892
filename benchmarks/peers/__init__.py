"""Other implementations of the same models, timed beside ours."""
