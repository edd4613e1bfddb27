"""HTTP as bytes and values. Nothing here waits."""
