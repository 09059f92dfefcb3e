"""The sentence: staged, unzipped, converted, described, published; one short file per asset."""
