"""What the public sees of a machine: the workers' counts, summed, and the state of each Space."""
