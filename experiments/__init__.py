"""Experiments: the systems built on `lars_jax`, each with its own command line."""
