"""The composition: which services on which engines in this process, and the `tidings` command."""

import os

# gRPC's core would write to standard error in a form of its own what is also raised and said in one sentence.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
