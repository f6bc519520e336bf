"""Translate SELECT with its clauses, UNION and WITH."""
