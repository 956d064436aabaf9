"""Papers as claims, methods, limits and figures, each with the page and the words that it stands on."""
