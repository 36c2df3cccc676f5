"""Methods that need weights only: one file a method."""
