"""`python -m piper_train` of Piper's earlier trainer."""

import sys

from piper_train import answer

TODAY = "`python -m piper.train fit --data.dataset_dir=DIR`"

if __name__ == "__main__":
    sys.exit(answer("piper_train", TODAY))
