"""What the servers under measurement serve: the same application for each."""
