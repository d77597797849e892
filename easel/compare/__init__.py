"""Comparisons: what is compared, sweeps, votes, bundles and labelled grids; nothing of a page."""
