"""Tests of the checks and of what a failed one means."""
