"""How settings that cannot be used are told; imports little, as every command of the starter knows it."""

from collections.abc import Mapping


class WrongSettings(Exception):
    """Settings that cannot be used: a line each, with name, value unless secret, and what is allowed."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        super().__init__("\n".join(lines.values()))
        self.lines = lines
        """By the name of the setting."""
