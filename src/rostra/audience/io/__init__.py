"""The worker: sockets, the log's files, one epoll loop."""
