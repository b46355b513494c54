"""Speech to text inside a child: files of sound decoded in windows, Whisper's weights of any layout, what is written.

Runs with the Python of the extra `whisper` (faster-whisper, CTranslate2, PyAV), which has nothing of the house's.
"""
