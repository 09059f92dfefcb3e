"""SAFE products on disk: archives, manifests and names. Knows neither Dagster nor HTTP."""
