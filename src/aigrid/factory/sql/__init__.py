"""Questions about one database, answered as SQL: everything is learned from the file and from pairs, nothing written by hand."""
