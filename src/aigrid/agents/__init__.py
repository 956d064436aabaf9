"""Agents: digital workers that reason, use tools, remember, and ask before they act."""
