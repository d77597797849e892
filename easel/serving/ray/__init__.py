"""The same backend on many machines, by Ray: front ends, a desk, and runners.

Ray is imported nowhere else, and here only where ``EASEL_BACKEND=ray`` asks for it.
"""
