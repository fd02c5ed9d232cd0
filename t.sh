cd /tmp/w/s4/start/tree; PYTHONPATH=src OMP_NUM_THREADS=1 nice -n 15 timeout 300 /work/main/.venv/bin/python -m pytest -q "$@"
