"""One file per claim about speed or exactness; each prints a ratio against a peer measured in the same run."""
