"""The log in the file system: one writer, any number of readers, and the recording cut from it."""
