"""The whole server under ThreadSanitizer: load.py, started by tools/sanitize.sh."""
