"""Measurements: images per second, where a step's time goes, CIFAR-10 on a GPU."""
