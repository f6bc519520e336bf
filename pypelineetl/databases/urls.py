"""Connection URLs in SQLAlchemy's form: their options, and passwords that are not in them.

`?password_env=NAME`, `?password_file=PATH` and `?password_command=COMMAND` name where a password is, and it is read
when a connection is made.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL

_PASSWORD_OPTIONS = {"password_env", "password_file", "password_command"}
_COMMAND_SECONDS = 20


def options_of(url: URL, known: set[str] | None) -> Mapping[str, str]:
    """Return a URL's options but those of the password. Raises ValueError for one that is not known; None knows all."""
    unknown = set(url.query) - _PASSWORD_OPTIONS - (set(url.query) if known is None else known)
    if unknown:
        rule = f"known are {', '.join(sorted({*known, *_PASSWORD_OPTIONS}))}" if known else "there are none here"
        message = f"option {', '.join(sorted(unknown))} is not known; {rule}"
        raise ValueError(message)
    return {name: str(value) for name, value in url.query.items() if name not in _PASSWORD_OPTIONS}


def password_of(url: URL) -> str | None:
    """Return the password in a URL, or where its options say. Raises ValueError if it is not there."""
    if name := url.query.get("password_env"):
        if str(name) not in os.environ:
            message = f"the variable {name}, which should hold the password, is not set"
            raise ValueError(message)
        return os.environ[str(name)]
    if path := url.query.get("password_file"):
        try:
            return Path(str(path)).read_text().strip()
        except OSError as error:
            message = f"the password file {path} cannot be read: {error.strerror}"
            raise ValueError(message) from error
    if command := url.query.get("password_command"):
        return _told_by(str(command))
    return url.password


def _told_by(command: str) -> str:
    """Return the first line that a command writes; it is run without a shell. What else it says may be a secret."""
    program, *arguments = shlex.split(command)
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, from the user's own configuration
            [program, *arguments], capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"the password command {program} did not run: {type(error).__name__}"
        raise ValueError(message) from None
    if done.returncode or not done.stdout.strip():
        message = f"the password command {program} ended with status {done.returncode}, and told no password"
        raise ValueError(message)
    return done.stdout.splitlines()[0]
