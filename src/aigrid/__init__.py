"""aigrid: an AI factory that anyone can run, and the grid that joins many of them."""

__version__ = "0.1.0"
