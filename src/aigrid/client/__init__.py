"""For programs that ask a model: see `aigrid.client.model`; the blueprints are written with it."""
