"""TokenOpen: a self-hosted LLM API platform with groups, exact billing and limits."""

__version__ = "0.1.0"
