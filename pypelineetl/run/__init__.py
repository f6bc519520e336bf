"""Execute runs: lock tables, rebuild or update them, plan, and roll back."""
