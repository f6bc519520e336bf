"""Fault injection: refresh a small star, inject a fault at a point of it, and verify the result."""
