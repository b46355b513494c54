"""Text out of torch, in a child: the folder made safe, the model loaded, rows of conversations decoded together.

Runs with an extra's Python: torch and transformers are imported where they are used, and nothing else of ours is.
"""
