"""Tests of conversion_assets.safe."""
