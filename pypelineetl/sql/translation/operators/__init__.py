"""Translate operators, literals, CASE and CAST, by the kind of node."""
