"""Setting: what the environment says to a command, or one line that says what to do.

Apart from the client of the control API, which a server has no use for.
"""

from pydantic import ValidationError

from tokenopen.settings import Settings


class ControlError(Exception):
    """A command could not be carried out. ``code`` is the control API's where it was the one to refuse."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


def read_settings() -> Settings:
    """Return what the environment says. Raises ControlError naming the variable that cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        raise ControlError(f"TOKENOPEN_{field.upper()} cannot be used: {first['msg']}.") from None
