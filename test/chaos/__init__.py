"""Real nodes under everything that can go wrong, with all that their clients saw judged."""
