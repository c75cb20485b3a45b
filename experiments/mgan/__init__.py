"""MGAN: a mixture of generators against one discriminator (arXiv 1708.02556)."""
