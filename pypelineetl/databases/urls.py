"""Connection URLs: their options, the sources of their passwords, and TCP keepalive.

The form is SQLAlchemy's. `?password_env=NAME`, `?password_file=PATH` and
`?password_command=COMMAND` name the source of the password. The engine reads it when it connects.
It runs a command once in a process, and again after the server has refused the password.
"""

import os
import shlex
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from sqlalchemy import URL

_PASSWORD_OPTIONS = {"password_env", "password_file", "password_command"}
# A password manager answers in a second or two. A command that waits for a person must fail.
_COMMAND_SECONDS = 20

# By default a system needs two hours to notice that the other machine has lost its power or its
# network. A run would wait that long, and the locks of a lost run would stay. Keepalive probes also
# stop firewalls from dropping a connection that is silent while a long query runs.
IDLE_SECONDS = 60
"""After how many silent seconds one side of a connection probes the other side."""
INTERVAL_SECONDS = 10
"""The seconds between two probes."""
PROBES = 6
"""After how many probes without an answer the connection is lost."""

# Some systems lack some of these options.
_KEEPALIVE_OPTIONS = (
    ("TCP_KEEPIDLE", IDLE_SECONDS),
    ("TCP_KEEPINTVL", INTERVAL_SECONDS),
    ("TCP_KEEPCNT", PROBES),
)

_passwords: dict[str, str] = {}
"""The passwords that commands have returned in this process, by command."""
_password_lock = Lock()


def options_of(url: URL, known: set[str] | None) -> Mapping[str, str]:
    """Return a URL's options without those of the password.

    Args:
        url: The URL.
        known: The options that the database has; None if its driver checks them.

    Raises:
        ValueError: An option is not known.
    """
    options = {
        name: str(value) for name, value in url.query.items() if name not in _PASSWORD_OPTIONS
    }
    if known is None:
        return options
    unknown = sorted(options.keys() - known)
    if unknown:
        allowed = sorted({*known, *_PASSWORD_OPTIONS})
        rule = f"known are {', '.join(allowed)}" if known else "there are none here"
        message = f"option {', '.join(unknown)} is not known; {rule}"
        raise ValueError(message)
    return options


def password_of(url: URL) -> str | None:
    """Return the password in a URL, or the one to which its options refer.

    A command runs once in a process; its answer is kept until `forget_password`.

    Raises:
        ValueError: The password cannot be read.
    """
    if name := url.query.get("password_env"):
        if str(name) not in os.environ:
            message = f"the environment variable {name} must hold the password, but it is not set"
            raise ValueError(message)
        return os.environ[str(name)]
    if path := url.query.get("password_file"):
        try:
            return _first_line(Path(str(path)).read_bytes(), f"the password file {path}")
        except OSError as error:
            message = f"the password file {path} cannot be read: {error.strerror}"
            raise ValueError(message) from error
    if command := url.query.get("password_command"):
        # Two threads that need the password at the same time wait for one answer.
        with _password_lock:
            if command not in _passwords:
                _passwords[str(command)] = _output_of(str(command))
            return _passwords[str(command)]
    return url.password


def is_password_kept(url: URL) -> bool:
    """Return whether a command returned this URL's password earlier, so that it may be outdated."""
    return url.query.get("password_command") in _passwords


def forget_password(url: URL) -> None:
    """Forget the kept password of this URL, so that its command runs again."""
    _passwords.pop(str(url.query.get("password_command")), None)


def _output_of(command: str) -> str:
    """Return the first line that a command prints.

    No shell is involved. The messages do not repeat the command's arguments or its output, which
    may be secret.
    """
    program, *arguments = shlex.split(command)
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, from the user's own configuration
            [program, *arguments], capture_output=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"the password command {program} did not run: {type(error).__name__}"
        raise ValueError(message) from None
    if done.returncode or not done.stdout.strip():
        message = (
            f"the password command {program} ended with status {done.returncode} and printed no"
            " password"
        )
        raise ValueError(message)
    return _first_line(done.stdout, f"the password command {program}")


def _first_line(output: bytes, source: str) -> str:
    r"""Return the text before the first newline, which is `\n` or `\r\n`.

    Spaces stay: they may belong to the password.
    """
    line, newline, _ = output.partition(b"\n")
    if newline:
        line = line.removesuffix(b"\r")
    try:
        return line.decode()
    except UnicodeDecodeError:
        message = f"the output of {source} is not valid UTF-8, which a password must be"
        raise ValueError(message) from None


def keep_alive(connection: socket.socket) -> None:
    """Turn on keepalive probes for a TCP connection; a Unix socket needs none."""
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE_OPTIONS:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
