"""External services as Dagster resources: a small typed interface each, and its implementations."""
