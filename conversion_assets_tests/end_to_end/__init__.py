"""Tests of the whole: the installed command, real products, real processes."""
