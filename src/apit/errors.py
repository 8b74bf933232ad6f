"""The one error that a user can cause and mend."""


class UserError(Exception):
    """Bad input: the message says what was wrong, where, and what to do (exit code 2)."""
