"""HTTPS on both ports: who makes it, when a certificate is renewed, and what ends TLS before the workers."""
