"""Connect to MySQL and MariaDB: TLS, session settings, and safe file transfer for LOAD DATA."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import pymysql
from pymysql.constants import CLIENT, FIELD_TYPE
from pymysql.converters import conversions, decoders
from sqlalchemy import URL

from pypelineetl.databases.urls import keep_alive, options_of, password_of

TLS_OPTIONS = {"ssl", "ssl_ca", "ssl_cert", "ssl_key"}
"""The URL options by which a connection uses TLS."""
_OPTIONS = {"charset", "unix_socket", *TLS_OPTIONS}
CHARSET = "utf8mb4"
"""The character set of every connection: MySQL's name of UTF-8."""
_PATIENCE_SECONDS = 600
"""How long the server waits for a table lock, for rows to load, and for rows to be read.

By default the server waits 30 and 60 seconds for rows. While DuckDB sorts, no row moves for longer.
"""
_LOCAL_FORBIDDEN = 2068
"""The client's own error number for a file that the server may not get."""


def _null_if_zero(decode: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a decoder that reads MySQL's date of zeros as NULL, as DuckDB's scanner does."""

    def decoded(text: str) -> Any:
        return None if text.startswith("0000-00-00") else decode(text)

    return decoded


_DATE_DECODERS: Mapping[Any, Callable[[str], Any]] = {
    kind: _null_if_zero(decoders[kind])
    for kind in (FIELD_TYPE.DATE, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP)
}


class _Connection(pymysql.Connection):
    """A connection that sends the server only the file that is being loaded.

    In MySQL's protocol the server names the file that the client must send. A hostile server could
    name any file of this machine.
    """

    def __init__(self, **options: Any) -> None:
        self._offered = ""
        super().__init__(**options)
        # The handshake announced that the client may send files. From here on it sends none.
        self._local_infile = False

    def connect(self, sock: Any = None) -> None:
        super().connect(sock)
        keep_alive(self._sock)  # type: ignore[attr-defined] # PyMySQL's stubs lack it

    def _create_ssl_ctx(self, options: Any) -> ssl.SSLContext:
        # Without a TLS option in the URL, PyMySQL uses TLS if the server has it, and verifies
        # nothing. But it reads the system's certificates for each connection, which takes longer
        # than all other steps.
        if not options:
            return _unverified_context()
        context: ssl.SSLContext = super()._create_ssl_ctx(options)  # type: ignore[misc] # PyMySQL's stubs lack it
        return context

    @contextmanager
    def offering(self, path: str) -> Iterator[None]:
        """Send this file if the server asks for it during the block."""
        self._offered, self._local_infile = path, True
        try:
            yield
        finally:
            self._offered, self._local_infile = "", False

    def _read_packet(self, *packet_type: Any) -> Any:
        packet = super()._read_packet(*packet_type)  # type: ignore[no-untyped-call] # PyMySQL's stubs have no types here
        # Outside of `offering`, a packet that looks like a request for a file may be a row. If it
        # is a request, PyMySQL itself refuses it.
        if (
            self._offered
            and packet.is_load_local_packet()
            and packet.get_all_data()[1:] != self._offered.encode()
        ):
            message = "the server asked for another file than the one to load, and did not get it"
            raise pymysql.OperationalError(_LOCAL_FORBIDDEN, message)
        return packet


@cache
def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _verifying_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """Return TLS that verifies the server's certificate and name.

    The certificate's authority is in the file `ssl_ca`, or is one of the system's.
    """
    context = ssl.create_default_context(cafile=options.get("ssl_ca"))
    if "ssl_cert" in options:
        context.load_cert_chain(options["ssl_cert"], options.get("ssl_key"))
    return context


def url_options(url: URL) -> Mapping[str, str]:
    """Return a URL's options without those of the password.

    Raises:
        ValueError: There is no such option or value.
    """
    options = options_of(url, _OPTIONS)
    if options.get("charset", CHARSET) != CHARSET:
        message = (
            f"option charset must be {CHARSET}, because texts would lose characters in another one;"
            " leave it out"
        )
        raise ValueError(message)
    if options.get("ssl", "true") != "true":
        message = "option ssl can only be true; leave it out for a connection without TLS"
        raise ValueError(message)
    return options


def connect(url: URL, *, read_only: bool) -> Any:
    """Return a connection with autocommit off, in UTC, with strict checks of values."""
    options = url_options(url)
    connection = _Connection(
        host=url.host or "localhost",
        port=url.port or 3306,
        user=url.username,
        # As bytes: PyMySQL would encode a text in latin1, while the server has the password in
        # UTF-8.
        password=(password_of(url) or "").encode(),
        database=url.database,
        unix_socket=options.get("unix_socket"),
        charset=CHARSET,
        # PyMySQL's own ssl_ca encrypts, but does not verify the server.
        ssl=_verifying_context(options) if options.keys() & TLS_OPTIONS else None,
        local_infile=not read_only,
        conv={**conversions, **_DATE_DECODERS},
        # An UPDATE returns how many rows it matched, as in the other databases, and not how many of
        # them it changed.
        client_flag=CLIENT.FOUND_ROWS,
    )
    with connection.cursor() as cursor:
        # Strict mode: the server must refuse a value that does not fit its column; without it, the
        # server cuts the value. By default a statement waits a year for a locked table.
        cursor.execute(f"""
            SET SESSION
                time_zone = '+00:00',
                sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'),
                net_read_timeout = {_PATIENCE_SECONDS},
                net_write_timeout = {_PATIENCE_SECONDS},
                lock_wait_timeout = {_PATIENCE_SECONDS}
        """)
        if read_only:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    return connection


def error_code(error: BaseException | None) -> int | None:
    """Return the server's number of an error; None if it has none."""
    if isinstance(error, pymysql.MySQLError) and error.args:
        code: int = error.args[0]
        return code
    return None
