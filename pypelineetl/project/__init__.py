"""The config module, validated and read into one Project."""
