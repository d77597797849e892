"""How the models come to what they say, on one's own prompt and picture: a module a question."""
