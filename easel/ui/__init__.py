"""The Gradio page: layout, controls made from options, and the streaming of runs."""
