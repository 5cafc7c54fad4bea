"""The error whose text is for the operator."""


class OperatorError(RuntimeError):
    """An error that the operator can mend: one line in the log, and exit code 1."""
