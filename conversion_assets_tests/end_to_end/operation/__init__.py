"""The platform in operation: backfills, failures and cancellation under a real daemon (make test-operation)."""
