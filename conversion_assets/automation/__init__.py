"""When things run: jobs and sensors."""
