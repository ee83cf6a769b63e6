"""The daemon that watch runs: book, feeds, executor and their wiring."""
