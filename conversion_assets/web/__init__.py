"""HTTP as we speak it: a client, its authentication, its faults, and which addresses it may go to."""
