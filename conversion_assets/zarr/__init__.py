"""EOPF Zarr products: conversion, verification, pictures. Knows neither Dagster nor HTTP."""
