"""The Helm charts in use: which versions, from where, and how each archive is proved."""
