"""The one exception that means: what you asked for cannot be done, and why."""


class InputError(ValueError):
    """Input that cannot be used: a configuration, a file, a data set, a checkpoint.

    The message is a single line with the rule, what came, and what to do about it.
    Command lines print it and exit with status 2; everything else is a defect of the
    program and keeps its traceback.
    """
