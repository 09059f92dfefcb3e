"""Prepares each process for being killed at a named point.

Python runs this at start-up where this folder is on PYTHONPATH.
"""

from conversion_assets_tests.faults.sabotage import install_as_told

install_as_told()
