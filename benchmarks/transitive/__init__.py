"""What the stages of the transitive pipeline cost, in time and in memory."""
