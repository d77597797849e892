"""A flat map of features: principal component analysis.

Source: Pearson, "On Lines and Planes of Closest Fit to Systems of Points in Space" (1901).
"""

from __future__ import annotations

import numpy as np


def principal_components(features: np.ndarray, components: int = 2,
                         ) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along the directions in which features vary most.

    Args:
        features: (N, D) float32.
        components: how many directions, at most D.

    Returns:
        (N, components) float32 coordinates, and (components,) float32 shares of the variance.
        The sign of each direction is chosen so that its largest entry is positive.
    """
    centred = features - features.mean(0)
    # The D × D covariance: N may be large, D is not.
    values, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    order = np.argsort(-values)[:components]
    axes = vectors[:, order]
    axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(components)])
    total = values.clip(0).sum()
    shares = values[order].clip(0) / total if total > 0 else np.zeros(components)
    return (centred @ axes).astype(np.float32), shares.astype(np.float32)
