"""Connection URLs in SQLAlchemy's form: their options, and passwords that are not in them.

`?password_env=NAME`, `?password_file=PATH` and `?password_command=COMMAND` name where a password
is, and it is read when a connection is made; a command is run once in a process, and again when its
password was refused.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from sqlalchemy import URL

_PASSWORD_OPTIONS = {"password_env", "password_file", "password_command"}
_COMMAND_SECONDS = 20


def options_of(url: URL, known: set[str] | None) -> Mapping[str, str]:
    """Return a URL's options but those of the password.

    Raises ValueError for one that is not known; None knows all.
    """
    unknown = set(url.query) - _PASSWORD_OPTIONS - (set(url.query) if known is None else known)
    if unknown:
        rule = (
            f"known are {', '.join(sorted({*known, *_PASSWORD_OPTIONS}))}"
            if known
            else "there are none here"
        )
        message = f"option {', '.join(sorted(unknown))} is not known; {rule}"
        raise ValueError(message)
    return {name: str(value) for name, value in url.query.items() if name not in _PASSWORD_OPTIONS}


def password_of(url: URL) -> str | None:
    """Return the password in a URL, or where its options say. Raises ValueError if it is not there.

    A command is asked once in a process; its answer is kept until `forget_password`.
    """
    if name := url.query.get("password_env"):
        if str(name) not in os.environ:
            message = f"the variable {name}, which should hold the password, is not set"
            raise ValueError(message)
        return os.environ[str(name)]
    if path := url.query.get("password_file"):
        try:
            return _first_line(Path(str(path)).read_bytes(), f"the password file {path}")
        except OSError as error:
            message = f"the password file {path} cannot be read: {error.strerror}"
            raise ValueError(message) from error
    if command := url.query.get("password_command"):
        # One at a time: two that need it at once wait for one answer.
        with _asking:
            if command not in _told:
                _told[str(command)] = _told_by(str(command))
            return _told[str(command)]
    return url.password


def is_password_kept(url: URL) -> bool:
    """Whether a command has told this URL's password before, so that it may be an old one."""
    return url.query.get("password_command") in _told


def forget_password(url: URL) -> None:
    """Ask the command of this URL's password again when it is next needed."""
    _told.pop(str(url.query.get("password_command")), None)


_told: dict[str, str] = {}
"""The passwords that commands have told this process, by command."""
_asking = Lock()


def _told_by(command: str) -> str:
    """Return the first line that a command writes.

    It is run without a shell. What else it says may be a secret.
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
            f"the password command {program} ended with status {done.returncode}, and told no"
            " password"
        )
        raise ValueError(message)
    return _first_line(done.stdout, f"the password command {program}")


def _first_line(told: bytes, teller: str) -> str:
    r"""Return the text before the first newline, which is `\n` or `\r\n`.

    All else may be a part of a password.
    """
    line, newline, _ = told.partition(b"\n")
    if newline:
        line = line.removesuffix(b"\r")
    try:
        return line.decode()
    except UnicodeDecodeError:
        message = f"what {teller} tells is no text in UTF-8, which a password must be"
        raise ValueError(message) from None
