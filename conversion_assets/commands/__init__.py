"""The commands of the command line, one file each. Dagster is loaded only when a command needs it."""
