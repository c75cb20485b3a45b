"""Steps over several devices: exactness, scaling, memory and exchanges."""
