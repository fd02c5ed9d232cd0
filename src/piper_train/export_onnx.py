"""`python -m piper_train.export_onnx` of Piper's earlier trainer."""

import sys

from piper_train import answer

TODAY = "`python -m piper.train.export_onnx --checkpoint FILE --output-file FILE`"

if __name__ == "__main__":
    sys.exit(answer("piper_train.export_onnx", TODAY))
