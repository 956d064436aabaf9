"""The OpenAI-compatible door in front of all engines."""
