"""How a command fails: one line on stderr that says what to do, and the exit code."""

FAILED = 1
MISCONFIGURED = 78
"""EX_CONFIG of sysexits(3), for roles: their supervisor does not start them again."""


class CliError(Exception):
    """Ends the command. Its text goes to stderr."""

    def __init__(self, text: str, exit_code: int = FAILED) -> None:
        super().__init__(text)
        self.exit_code = exit_code
