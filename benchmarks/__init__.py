"""How fast, how much: benchmarks that print what they measured and the machine they ran on."""

# First of all: loaded after eccodes (which the test products need), it ends the process with a segmentation
# fault at exit, for both bring a libldap and eccodes shows its own to everyone.
import psycopg2  # type: ignore[import-untyped] # noqa: F401 - loaded, not used
