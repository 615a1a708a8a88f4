"""Namespaces of applications, default deny and the flows let through."""
