"""Kills, signals, damage and lost processes, and what they cost a run."""
