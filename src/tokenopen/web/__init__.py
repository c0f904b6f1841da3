"""Web: the console and guide pages, rendered by the server."""
