"""Knowledge from elsewhere: weights of other networks, and what a teacher says."""
