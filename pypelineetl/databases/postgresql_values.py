"""Have psycopg read PostgreSQL's values exactly, where it would change a value or fail at it."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader

from pypelineetl.databases.single_floats import Single, single
from pypelineetl.sql.cast_rules import NO_TIME_OF_DAY, OUT_OF_YEARS
from pypelineetl.sql.source_values import Bits, Interval, UnsupportedValue


class _BitsLoader(TextLoader):
    def load(self, data: Buffer) -> Bits:
        return Bits(super().load(data))


class _IntervalLoader(Loader):
    def load(self, data: Buffer) -> Interval:  # noqa: ARG002 - psycopg would turn months into days
        return Interval()


class _FixedTextLoader(TextLoader):
    def load(self, data: Buffer) -> bytes | str:
        # DuckDB's scanner reads a CHAR without the spaces with which the server fills it, so the
        # driver does the same.
        return super().load(bytes(data).rstrip(b" "))


class _SingleLoader(Loader):
    def load(self, data: Buffer) -> Single:
        return single(bytes(data).decode())


def _within_python(type_name: str, outside: UnsupportedValue) -> type[Loader]:
    """Return a psycopg loader that does not fail at a value which Python's type cannot hold.

    Args:
        type_name: The PostgreSQL type.
        outside: What the loader returns for such a value.
    """
    oid = psycopg.adapters.types[type_name].oid
    usual = psycopg.adapters.get_loader(oid, psycopg.pq.Format.TEXT)
    assert usual  # noqa: S101 - psycopg has a loader for each of these types
    usual_loader = usual

    class Within(Loader):
        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            self._usual = usual_loader(oid, context)

        def load(self, data: Buffer) -> Any:
            try:
                return self._usual.load(data)
            except psycopg.DataError:
                return outside

    return Within


_LOADERS: Mapping[str, type[Loader]] = {
    # JSON as text keeps every digit of its numbers.
    "json": TextLoader,
    "jsonb": TextLoader,
    "bit": _BitsLoader,
    "varbit": _BitsLoader,
    "interval": _IntervalLoader,
    "bpchar": _FixedTextLoader,
    "float4": _SingleLoader,
    "date": _within_python("date", UnsupportedValue("date", OUT_OF_YEARS)),
    "timestamp": _within_python("timestamp", UnsupportedValue("datetime", OUT_OF_YEARS)),
    "timestamptz": _within_python("timestamptz", UnsupportedValue("datetime", OUT_OF_YEARS)),
    "time": _within_python("time", UnsupportedValue("time", NO_TIME_OF_DAY)),
}
"""By PostgreSQL type: the loader."""


def register_loaders(connection: psycopg.Connection) -> None:
    """Have a connection read values exactly."""
    for name, loader in _LOADERS.items():
        connection.adapters.register_loader(name, loader)
