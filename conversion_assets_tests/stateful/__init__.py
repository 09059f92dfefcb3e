"""The whole platform against a small model, in thousands of steps that hypothesis chooses."""
