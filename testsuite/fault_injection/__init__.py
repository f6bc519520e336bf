"""The fault grid.

A small star is refreshed, a fault strikes at a point of it, and what is left is judged.
"""
