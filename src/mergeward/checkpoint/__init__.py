"""One model on disk: opened lazily, checked, written atomically."""
