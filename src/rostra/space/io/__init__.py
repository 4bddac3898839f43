"""Command sockets and the files of a Space."""
