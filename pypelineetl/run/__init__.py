"""Runs: locking, rebuilding, updating, planning, rolling back."""
