"""Text for people: control characters are escaped, and a closed pipe does not end a command.

All text for a screen, a log or an alert goes through `shown`. Tables keep the exact values.
"""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# Control characters (C0, DEL, C1), separators of lines and paragraphs, characters that change the
# direction of writing, and surrogates, which no file can hold. A value from a source could
# otherwise clear the screen or forge a line of the log.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_INDENT = "    "


def shown(text: object) -> str:
    r"""Return a text on one line, with control characters escaped.

    >>> shown("one\ntwo")
    'one\\ntwo'
    """
    return _UNSAFE.sub(_escape, str(text))


def shown_lines(text: str) -> str:
    r"""Return a text of several lines, with all but the first indented.

    An indented line cannot be mistaken for a line of the log.

    >>> shown_lines("one\ntwo")
    'one\n    two'
    """
    return f"\n{_INDENT}".join(shown(line) for line in text.split("\n"))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


class _OutlastingStream:
    """A stream that accepts text after its reader has closed the pipe, as `head` does.

    That text is dropped, and the command ends as it would have with a reader.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._ignore_closed_pipe():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._ignore_closed_pipe():
            self._stream.flush()

    @contextmanager
    def _ignore_closed_pipe(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # Python writes the rest of the buffer at its exit. From here on it goes to /dev/null.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def outlasting_readers() -> Iterator[None]:
    """Let the block write to stdout and stderr, even if the reader has closed the pipe.

    A character that the encoding of a stream does not have is escaped.
    """
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    replaced = {}
    for name, stream in streams.items():
        # In tests, the stream may be another object.
        if isinstance(stream, io.TextIOWrapper):
            replaced[name] = stream
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, _OutlastingStream(stream))
    try:
        yield
    finally:
        for name, stream in replaced.items():
            getattr(sys, name).flush()
            setattr(sys, name, stream)
