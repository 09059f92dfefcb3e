"""The published upstream services, run as they are: what our peers and our clients are held against."""
