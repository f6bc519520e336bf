"""The settings of the Celery application: limits, lost workers and brokers, retries, and beat."""

from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

from celery import Celery
from celery.schedules import crontab

from pypelineetl.celery import serializer
from pypelineetl.project.settings import valid_value_of, value_of

WATCH = "pypelineetl.watch"
"""The task that alerts people if the ETLs were not loaded in time."""

_WATCH_EVERY = timedelta(minutes=15)
_TIME_LIMIT_SECONDS = 4 * 3600
# The time between the soft limit, which raises in the task, and the hard one, which kills it.
_GRACE_SECONDS = 300
# How often a worker looks for tasks of dead workers in Redis, and how long its lock for that lasts.
_RESTORE_SECONDS = 10


def new_application(config: ModuleType, route: Callable[..., dict[str, str] | None]) -> Celery:
    """Return the Celery application of a config module.

    `route` is called with a task's name and arguments, and returns its queue.
    """
    serializer.register()
    broker = value_of(config, "BROKER_URL")
    backend = value_of(config, "RESULT_URL")
    app = Celery("pypelineetl", broker=broker, backend=backend)
    app.conf.update(settings_of(config), task_routes=(route,))
    return app


def settings_of(config: ModuleType) -> dict[str, Any]:
    """Return the settings of the Celery application of a config module.

    A wrong value of the module counts as its default here; `read_project` reports it.
    """
    limit = valid_value_of(config, "TIME_LIMIT_SECONDS") or _TIME_LIMIT_SECONDS
    # Longer than the hard limit. Otherwise Redis delivers a task that still runs to another worker.
    visible = limit + 2 * _GRACE_SECONDS
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_serializer": serializer.NAME,
        "result_accept_content": ["json", serializer.NAME],
        "result_extended": False,
        "task_track_started": True,
        # If a worker dies, another worker runs its task. It is safe to run an ETL again.
        "task_acks_late": True,
        # Safe, because the library does not begin an ETL again that has killed several processes.
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "task_soft_time_limit": limit,
        "task_time_limit": limit + _GRACE_SECONDS,
        "visibility_timeout": visible,
        "broker_transport_options": {
            "visibility_timeout": visible,
            "unacked_restore_interval": _RESTORE_SECONDS,
            # Each interval really scans Redis, not every Nth one.
            "unacked_restore_throttle": 1,
            # A worker that dies while it restores the tasks of others leaves a lock in Redis, by
            # default for 5 minutes. Two workers that restore at once do no harm: Redis moves each
            # message in one transaction.
            "unacked_mutex_expire": _RESTORE_SECONDS,
        },
        "result_backend_transport_options": {"visibility_timeout": visible},
        # Retry for half a minute, until Redis is back or an idle connection is made again.
        # Otherwise a task fails at once if Celery cannot store its result or send its next stage.
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
        # Otherwise Celery would write what an ETL prints to the worker's log.
        "worker_redirect_stdouts": False,
        "beat_schedule": _beat_schedule(config),
    }


def _beat_schedule(config: ModuleType) -> dict[str, Any]:
    """Return the schedule of beat: the nightly refresh, and the check whether it happened."""
    schedule: dict[str, Any] = {}
    nightly = valid_value_of(config, "NIGHTLY_REFRESH")
    if nightly is not None:
        schedule["nightly-refresh"] = {
            "task": "tasks.refresh_data_warehouse",
            "schedule": crontab(**nightly),
        }
    if valid_value_of(config, "LATE_AFTER_HOURS") is not None:
        schedule["watch"] = {"task": WATCH, "schedule": _WATCH_EVERY}
    return schedule
