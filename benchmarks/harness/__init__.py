"""What the scripts in `benchmarks/` share: options, running and measuring a command, rows, checkpoints."""
