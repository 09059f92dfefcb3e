"""Tests of `conversion_assets.web`, over real sockets."""
