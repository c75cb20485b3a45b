"""Runs of the LARS paper's experiments."""
