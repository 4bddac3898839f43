"""The studio's doors to the world: HTTP, the store, the stage's and the programme's sockets."""
