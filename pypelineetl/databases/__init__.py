"""The databases that the engine can read and write: one class for each, found by its URL.

`base.py` composes a database of small parts. The files of each database have what differs.
"""

from importlib import import_module
from typing import cast

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from pypelineetl.databases.base import Database
from pypelineetl.errors import ConfigError, did_you_mean, missing_package

_CLASSES = {
    "mysql": "mysql.MySQL",
    "mariadb": "mysql.MySQL",
    "postgresql": "postgresql.PostgreSQL",
    "duckdb": "duckdb.DuckDB",
    "sqlite": "sqlite.SQLite",
}
DIALECTS = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgres",
    "postgres": "postgres",
    "duckdb": "duckdb",
    "sqlite": "sqlite",
}
"""By a name that SQL_DIALECT may have: sqlglot's name of the dialect."""
_DRIVERS = {"mysql": "pymysql", "mariadb": "pymysql", "postgresql": "psycopg"}
"""By server: the name of the driver that a URL may have, as in mysql+pymysql."""


def parse_url(text: str) -> URL:
    """Return the URL of a database.

    Raises:
        ConfigError: The text is not a URL, or the engine does not know its database or driver.

    >>> parse_url("sqlite:////data/shop.db").database
    '/data/shop.db'
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        # SQLAlchemy raises ValueError for a port that is not a number. The message does not repeat
        # the text, which may contain a password.
        message = "it is no database URL; the form is database://user:password@host:port/name"
        raise ConfigError(message) from error
    database, _, driver = url.drivername.partition("+")
    if database not in _CLASSES:
        near = did_you_mean(database, _CLASSES)
        message = f'database "{database}" is not known; use one of {", ".join(_CLASSES)}.{near}'
        raise ConfigError(message)
    if driver and driver != _DRIVERS.get(database):
        message = f'driver "{driver}" is not known for {database}; leave it out'
        raise ConfigError(message)
    if database in _DRIVERS and ("@" in f"{url.host}{url.database}" or "password" in url.query):
        # Don't repeat the URL: with an unescaped "@", the parsed host contains a part of the
        # password.
        message = (
            "its password must stand between : and @, with @ written as %40, or be named by"
            " ?password_env=NAME"
        )
        raise ConfigError(message)
    return url


def database_class(url: URL) -> type[Database]:
    """Return the class for a URL. The first use imports the driver.

    Raises:
        ConfigError: The driver's package is not installed.
    """
    database = url.drivername.partition("+")[0]
    module_name, _, class_name = _CLASSES[database].partition(".")
    try:
        module = import_module(f"pypelineetl.databases.{module_name}")
    except ModuleNotFoundError as error:
        raise ConfigError(missing_package(error, database, extra=module_name)) from error
    return cast("type[Database]", getattr(module, class_name))


def open_database(url: URL, *, read_only: bool) -> Database:
    """Connect to the database at a URL.

    Args:
        url: The URL.
        read_only: Have the server refuse writes in this session, if it can.

    Raises:
        DatabaseError: The connection failed.
    """
    return database_class(url).open(url, read_only=read_only)
