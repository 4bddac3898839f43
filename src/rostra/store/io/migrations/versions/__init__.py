"""The steps. A step that was released is never edited; a new one names the last as its `down_revision`."""
