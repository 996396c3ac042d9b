"""Names that clients and applications choose, as one line of the log or a terminal may show them."""


def printable(value: object) -> str:
    r"""str(value); whatever cannot be printed is escaped as Python does: a line break is \n, ESC is \x1b. So nothing in it begins
    another line, or commands a terminal."""
    text = str(value)
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
