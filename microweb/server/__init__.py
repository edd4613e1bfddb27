"""The server: sockets, connections and deadlines; workers, logs and metrics."""
