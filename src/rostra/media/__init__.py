"""CMAF, written by hand: init segments, fragments, and the head that makes an .m4a of a log. Bytes in, bytes out."""
