"""Tests of the conversion, its checks and its pictures."""
