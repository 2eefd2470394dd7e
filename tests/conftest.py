"""Settings of the whole suite, made before any library is imported."""

import os

# The networks under test are small: more threads only wait for each other, on a busy machine thirty times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
