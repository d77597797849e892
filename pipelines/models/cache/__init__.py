"""The parts of the model cache: what is held where, what it costs, who uses it."""
