"""The commands, by what a person is about: talking, models, the house, and what to know before a download."""
