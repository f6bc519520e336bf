"""What `make bench` runs: the engine beside other ways to do the same work, on the same machine in the same run."""
