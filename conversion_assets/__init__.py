"""Sentinel SAFE products in, EOPF Zarr products and STAC items out, on Dagster."""
