"""unCLIP: a prior from text to an image embedding, a decoder from it to pixels."""
