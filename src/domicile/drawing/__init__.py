"""What the child of the engine `images` is made of: a model's files made safe, its pipeline, and one drawing at a time.

Runs with the Python of the extra `images`: diffusers, torch and Pillow, imported where they are used. Knows nothing of
the house but what tells it apart from others (`child_life`).
"""
