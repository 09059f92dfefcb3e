"""Files on S3 and in folders: access, transfers, guarded deletion."""
