"""The flight recorder: what is counted, what is proved, what caused an incident. Nothing here yet."""
