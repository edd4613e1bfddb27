"""`microweb dev`: the reloader, and the process that has the app."""
