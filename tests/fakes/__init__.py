"""Fakes: one per port that the world is faked at."""
