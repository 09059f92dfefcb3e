"""What must hold of each asset, and how a finding stops the line."""
