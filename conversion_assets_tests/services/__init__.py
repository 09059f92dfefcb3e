"""The integration suite: tests against real servers, run by ``make test-services``."""
