"""Where models come from. Each source has one shape: `describe` a repository, `wanted` a file of it to download."""
