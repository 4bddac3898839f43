"""The ear's sockets and codecs: listening, speaking, decoding."""
