"""Doors for programs that speak others' interfaces: OpenAI's images, A1111's API, MCP.

Each turns what its programs send into the requests of the page, and runs them on the same backend
for the same visitors, with the same limits. What they say is English, as the originals say it.
"""
