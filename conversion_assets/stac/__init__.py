"""STAC documents: reading orders from them and writing items. Knows neither Dagster nor HTTP."""
