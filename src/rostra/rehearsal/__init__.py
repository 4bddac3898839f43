"""The crowd, on real sockets and in virtual time, and its signed report. Nothing here yet."""
