"""`python -m piper_train.preprocess` of Piper's earlier trainer."""

import sys

from piper_train import answer

TODAY = "`python -m piper.train import SOURCE DIR --language VOICE`"

if __name__ == "__main__":
    sys.exit(answer("piper_train.preprocess", TODAY))
