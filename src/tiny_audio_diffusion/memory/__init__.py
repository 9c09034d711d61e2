"""Memory: how much training and sampling take."""
