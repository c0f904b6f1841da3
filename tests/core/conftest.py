"""Hypothesis for the core: enough examples to find edges, no deadline, since no test is about speed."""

from hypothesis import settings

settings.register_profile("core", max_examples=100, deadline=None)
settings.load_profile("core")
