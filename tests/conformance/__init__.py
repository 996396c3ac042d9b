"""Other projects' tests, out of their source packages, against Peneus."""
