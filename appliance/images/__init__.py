"""The image store: what machines boot, fetched, proven, pinned and rolled back."""
