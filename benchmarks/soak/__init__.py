"""An hour of watched sources under faults: ``python -m benchmarks.soak``; see ``__main__``."""
