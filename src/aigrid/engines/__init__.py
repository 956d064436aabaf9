"""What makes tokens: one protocol, one file per implementation."""
