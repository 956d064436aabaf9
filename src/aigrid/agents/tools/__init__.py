"""The kinds of tools, one file each."""
