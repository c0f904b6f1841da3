"""Trials: programs that run the platform for long under load, or hurt it, and check every charge after."""
