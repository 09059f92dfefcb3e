"""Tests of conversion_assets, laid out like the package they test."""
