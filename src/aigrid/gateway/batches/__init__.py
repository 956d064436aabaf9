"""Batches: files of requests, answered in the capacity that interactive requests leave idle."""
