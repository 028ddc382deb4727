"""The operator's entry: ``python run_pipeline.py …`` is ``medsecure run …``.

For a cluster: ``ray job submit --working-dir . -- python run_pipeline.py --source … --index …``, as the
README has it in full.
"""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
