"""A step of LARS: what it costs beside others, and how exact it is."""
