"""The Space as people know it: what was announced, the state it is in, who sits where, who may do what."""
