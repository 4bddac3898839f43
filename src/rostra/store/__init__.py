"""What must be remembered beyond a Space's own files: the Spaces, the links that were given out, who did what."""
