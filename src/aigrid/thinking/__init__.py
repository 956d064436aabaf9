"""Thinking: more tokens for one answer, spent where they help, within a budget."""
