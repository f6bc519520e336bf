"""The functions and classes with which users declare ETLs: plain data, without a connection."""
