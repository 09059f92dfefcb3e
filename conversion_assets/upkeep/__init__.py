"""What keeps a home in order: what is left behind is found and mended, old keys and runs are let go."""
