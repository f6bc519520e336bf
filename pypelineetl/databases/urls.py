"""Connection URLs in SQLAlchemy's form: their options, and passwords that are not in them.

`?password_env=NAME` and `?password_file=PATH` name where a password is, and it is read when a connection is made.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL

_PASSWORD_OPTIONS = {"password_env", "password_file"}


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
    return url.password
