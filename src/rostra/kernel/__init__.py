"""What every package stands on: units, time as a value, ids, errors, and the layouts processes share."""
