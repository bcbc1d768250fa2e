"""The built page and client: files, no code. Their source is js/."""
