"""Live prices over Django Channels, served by Peneus."""
