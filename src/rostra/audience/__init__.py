"""What listeners are served, and in which order: sound first, then arrivals, pages, the replay."""
