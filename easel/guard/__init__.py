"""What stands between strangers and the page: hosts, texts, sizes, sessions, headers, files."""
