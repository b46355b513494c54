"""Vectors out of an encoder, in a child: what a folder says, what becomes of a model's states, and the routes.

Runs with an extra's Python, whichever library holds the model: numpy and tokenizers are imported where they are used,
and of ours only what stands at the bottom is. The model itself is a function that the child program gives.
"""
