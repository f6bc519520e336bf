"""Refreshes on Celery."""

from pypelineetl.celery.app import Refreshes

__all__ = ["Refreshes"]
