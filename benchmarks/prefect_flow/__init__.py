"""The five steps as a Prefect flow and as Dagster assets, with the same trivial work."""
