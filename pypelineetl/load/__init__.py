"""Load the source rows of one ETL into its warehouse table, as its pygrametl class would."""
