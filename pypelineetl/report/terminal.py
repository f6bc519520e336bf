"""How texts are shown to people: control characters in them are escaped, and a reader may leave
before the end.

All that is written to a screen, a log or an alert goes through `shown`. Tables keep the exact
values.
"""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# Control characters (C0, DEL, C1), separators of lines and paragraphs, what changes the direction
# of writing, and surrogates, which no file can hold.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_INDENT = "    "


def shown(text: object) -> str:
    r"""Return a text as people may see it, on one line.

    A newline is `\n`, the escape character `\x1b`.
    """
    return _UNSHOWN.sub(_escaped, str(text))


def shown_lines(text: str) -> str:
    """Return a text of several lines, all but the first indented, so that none can pass for a line
    of its own.
    """
    return f"\n{_INDENT}".join(map(shown, text.split("\n")))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


class _Outlasting:
    """A stream that goes on when its reader has gone, as `head` does.

    What is written then is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._outlasting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._outlasting():
            self._stream.flush()

    @contextmanager
    def _outlasting(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # What is buffered still is written there, and what comes.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def outlasting_readers() -> Iterator[None]:
    """Let the block write to the screen to its end, whether or not anybody reads all of it, and in
    any encoding.
    """
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    real = {
        name: stream for name, stream in streams.items() if isinstance(stream, io.TextIOWrapper)
    }
    for name, stream in real.items():
        # A character that the encoding of the screen does not have is escaped.
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, _Outlasting(stream))
    try:
        yield
    finally:
        for name, stream in real.items():
            getattr(sys, name).flush()
            setattr(sys, name, stream)
