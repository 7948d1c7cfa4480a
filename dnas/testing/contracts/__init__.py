"""The contracts of every SuperNet, one idea per module; ``dnas.testing`` joins them."""
