"""Games of the MGAN paper's experiments."""
