"""The tools that mergeward is compared with: their environments, drivers, and what is compared."""
