"""The one error that a user can cause and mend."""


class UserError(Exception):
    """Bad input: the message says what was wrong, where, and what to do (exit code 2)."""


class Interrupted(Exception):
    """Somebody asked the process to end, and it did so in order."""

    def __init__(self, number: int, message: str = ""):
        super().__init__(message)
        self.number = number
