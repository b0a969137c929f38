"""``python -m soundx.viewer``: the viewer of the project, or of the ``conf/``, in this folder.

What follows goes to Streamlit: ``KEDRO_ENV=demo python -m soundx.viewer --server.port=8600``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from streamlit.web.cli import main

if __name__ == "__main__":
    # otherwise whoever comes from this machine may say where he is, and guesses at the gate as many
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    app = Path(__file__).with_name("app.py")
    sys.argv = ["streamlit", "run", str(app), *sys.argv[1:]]
    main()
