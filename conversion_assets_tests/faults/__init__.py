"""Processes killed with SIGKILL at named points of an order, which is then repeated."""
