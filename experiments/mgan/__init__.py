"""MGAN: generative adversarial nets with K generators (arXiv 1708.02556)."""
