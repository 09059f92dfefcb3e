"""The platform in operation: backfills, failures, cancellation under a real daemon (make test-operation)."""
