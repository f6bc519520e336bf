"""The library's own tables in the warehouse."""
