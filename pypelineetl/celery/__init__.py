"""Run refreshes and single ETLs as Celery tasks."""

from pypelineetl.errors import missing_package

try:
    from pypelineetl.celery.app import Refreshes
except ModuleNotFoundError as error:
    raise ImportError(missing_package(error, "pypelineetl.celery", extra="celery")) from error

__all__ = ["Refreshes"]
