"""Write MySQL's SQL as each target database does."""
