"""The studio: who may come in and what they may do, the schedule, and the way to the stage."""
