from __future__ import annotations

import subprocess
import sys


def test_base_imports_no_torch():
    code = "import sys, harness.engines.base; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
