"""Tests of what runs when."""
