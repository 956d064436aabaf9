"""What everything stands on: configuration, errors, ids, clock, model downloads, processes."""
