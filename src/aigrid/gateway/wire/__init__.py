"""Wire formats: how clients write requests and read answers."""
