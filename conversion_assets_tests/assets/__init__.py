"""Tests of what the assets have in common."""
