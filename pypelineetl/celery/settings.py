"""What Celery is told of a config module.

Its limits, what becomes of tasks whose worker or broker dies, and beat.
"""

from datetime import timedelta
from types import ModuleType
from typing import Any

from celery.schedules import crontab

from pypelineetl.celery import serializer
from pypelineetl.project.settings import right_value_of

WATCH = "pypelineetl.watch"
"""The task that looks whether there was a refresh in time."""

_WATCH_EVERY = timedelta(minutes=15)
_LIMIT_SECONDS = 4 * 3600
_GRACE_SECONDS = 300
_RESTORE_SECONDS = 10


def settings_of(config: ModuleType) -> dict[str, Any]:
    """Return the settings of Celery's application for a config module, or their defaults where its
    values are wrong.
    """
    limit = right_value_of(config, "TIME_LIMIT_SECONDS") or _LIMIT_SECONDS
    # Above the hard limit, or Redis hands a task that still runs to a second worker.
    visible = limit + 2 * _GRACE_SECONDS
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_serializer": serializer.NAME,
        "result_accept_content": ["json", serializer.NAME],
        "result_extended": False,
        "task_track_started": True,
        # A worker that dies leaves its task to another; running an ETL again is safe.
        "task_acks_late": True,
        # Safe, because an ETL that kills its process again and again is not begun again.
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "task_soft_time_limit": limit,
        "task_time_limit": limit + _GRACE_SECONDS,
        "visibility_timeout": visible,
        "broker_transport_options": {
            "visibility_timeout": visible,
            "unacked_restore_interval": _RESTORE_SECONDS,
            "unacked_restore_throttle": 1,
            # A worker that dies while it hands out again what others left has a lock that nobody
            # lets go of: for five minutes by default. Two that do it at once do no harm, for each
            # message is moved in one transaction.
            "unacked_mutex_expire": _RESTORE_SECONDS,
        },
        "result_backend_transport_options": {"visibility_timeout": visible},
        # Half a minute for Redis to come back, or for a connection that idled and was dropped to be
        # made again: else Celery makes a failure of a task whose result it cannot store, or whose
        # next stage it cannot send, at once.
        "result_backend_always_retry": True,
        "result_backend_max_retries": 15,
        "redis_backend_health_check_interval": 30,
        "task_publish_retry_policy": {
            "max_retries": 8,
            "interval_start": 0,
            "interval_step": 1,
            "interval_max": 5,
        },
        "broker_connection_retry_on_startup": True,
        "worker_soft_shutdown_timeout": 60.0,
        # The application's own logs must not redirect what an ETL prints into a task's log.
        "worker_redirect_stdouts": False,
        "beat_schedule": _nightly(config),
    }


def _nightly(config: ModuleType) -> dict[str, Any]:
    """Return beat's schedule.

    A whole refresh at the time config.py gives, and a look whether there was one.
    """
    schedule: dict[str, Any] = {}
    if (when := right_value_of(config, "NIGHTLY_REFRESH")) is not None:
        schedule["nightly-refresh"] = {
            "task": "tasks.refresh_data_warehouse",
            "schedule": crontab(**when),
        }
    if right_value_of(config, "LATE_AFTER_HOURS") is not None:
        schedule["watch"] = {"task": WATCH, "schedule": _WATCH_EVERY}
    return schedule
