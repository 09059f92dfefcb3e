"""Tests of the STAC documents: geometry, items, validation, orders and the map."""
