"""The database's history, one file a step. `rostra.store.io.sqlite.open_store` walks it to the end at every start."""
