"""Accelerators' own compilers, without an accelerator: what a step will cost there."""
