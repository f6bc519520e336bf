"""Listeners of events: run.log, the console, alerts."""
