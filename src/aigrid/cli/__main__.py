"""`python -m aigrid.cli`: the commands, where the `aigrid` script is not on the path."""

from aigrid.cli.app import main

main()
