"""The layers of the Anton network, one module a layer; `settings` alone reads the stack's configuration."""
