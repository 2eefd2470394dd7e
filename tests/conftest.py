"""Settings of the whole suite, made before any library is imported."""

import os
import tempfile

# The networks under test are small: more threads only wait for each other, on a busy machine thirty times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Videos are signed with a key made for the run, not with that of whoever runs it.
_DATA = tempfile.TemporaryDirectory(prefix="moda-tests-")
os.environ["XDG_DATA_HOME"] = _DATA.name
