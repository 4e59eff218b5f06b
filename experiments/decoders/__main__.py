import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from experiments.decoders.architectures import ARCHITECTURES
from experiments.decoders.measure import measure, save

warnings.simplefilter("ignore")
for name in sys.argv[1:] or ARCHITECTURES:
    t = time.time()
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d) / name
        try:
            save(name, folder)
        except Exception as e:
            print(name, "BUILD", type(e).__name__, str(e)[:300])
            if "TB" in os.environ:
                traceback.print_exc()
            continue
        out = []
        for lora in (0, 2):
            for dtype in ("float32", "bfloat16"):
                try:
                    r = measure(folder, lora=lora, dtype=dtype)
                    out.append(r if isinstance(r, str) else f"{r.update:.1e}/{r.logits:.1e}/{r.tokens}")
                except Exception as e:
                    out.append(f"EXC {type(e).__name__}: {str(e)[:200]}")
                    if "TB" in os.environ:
                        traceback.print_exc()
        if len(set(out)) == 1:
            out = out[:1]
        print(name, *out, f"{time.time() - t:.1f}s", sep=" | ", flush=True)
