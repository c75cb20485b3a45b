"""Large Batch Training of Convolutional Networks (arXiv 1708.03888)."""
