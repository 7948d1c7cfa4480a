"""Prior, by the name under which searches use it; it belongs to the nouns of ``dnas.core``."""

from dnas.core.prior import Prior, UniformPrior

__all__ = ["Prior", "UniformPrior"]
