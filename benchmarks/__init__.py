"""How fast, how much: benchmarks that print what they measured and the machine they ran on."""
