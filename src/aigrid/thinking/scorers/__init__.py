"""Scorers: what says how good a candidate is."""
