"""What a stranger hears: a reader of the published formats that shares no code with whoever writes them."""
