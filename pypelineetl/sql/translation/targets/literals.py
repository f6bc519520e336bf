"""Write names and literals as a target database does."""

from pypelineetl.errors import DialectError


class Literals:
    """Names and literals of PostgreSQL, on which those of the other databases are based."""

    mark = '"'
    """The quote around a name."""

    def __init__(self, database: str) -> None:
        """Use the name of the database, for messages."""
        self._database = database

    def quoted(self, name: str) -> str:
        """Return a name of a table or column as this database quotes it."""
        return self.mark + name.replace(self.mark, self.mark * 2) + self.mark

    def text(self, text: str) -> str:
        """Return a literal text."""
        if "\0" in text:
            message = f"the text {text!r} has the character NUL, which {self._database} cannot hold"
            raise DialectError(message)
        return "'" + text.replace("'", "''") + "'"

    def date(self, iso: str) -> str:
        """Return a literal date, given as yyyy-mm-dd."""
        return f"DATE '{iso}'"

    def datetime(self, iso: str) -> str:
        """Return a literal datetime, given as yyyy-mm-dd hh:mm:ss with or without a fraction."""
        return f"TIMESTAMP '{iso}'"
