"""Plan the staged tables of a rebuild, and swap them with the live ones."""
