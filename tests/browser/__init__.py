"""The demo as a person sees it."""
