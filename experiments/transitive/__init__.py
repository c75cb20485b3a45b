"""Features from unlabelled video by transitive invariance, arXiv 1708.02901."""
