"""Tests of the services, each against real files, sockets and processes."""
