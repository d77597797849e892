"""Inside: how the models come to what they say, on one's own prompt and picture."""
