"""A router: which of two models a question needs, learnt from questions whose answers were judged.

The setting, the score and the measures are RouteLLM's (Ong et al. 2024, arXiv:2406.18665).
"""
