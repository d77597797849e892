"""The Rerank tab."""
