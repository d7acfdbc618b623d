"""How many entries a second does Keylime's verifier appraise?

Usage: python3 keylime_rate.py LIST DIGESTS PCR
LIST is an ascii_runtime_measurements, DIGESTS has "hex path" lines, PCR is the
register in hex. Prints entries a second of one pass, reading files not counted.

Keylime imports python-gpg for the signatures of policies, which are not used
here; where it is not installed, an empty module takes its place.
"""

import copy
import importlib.util
import logging
import sys
import time
import types

if importlib.util.find_spec("gpg") is None:
    sys.modules["gpg"] = types.ModuleType("gpg")
logging.disable(logging.CRITICAL)

from keylime.common.algorithms import Hash  # noqa: E402
from keylime.ima import ima  # noqa: E402

lines = open(sys.argv[1], encoding="utf-8").read().split("\n")
policy = copy.deepcopy(ima.EMPTY_RUNTIME_POLICY)
policy["ima"]["log_hash_alg"] = "sha1"
for line in open(sys.argv[2], encoding="utf-8"):
    digest, path = line.rstrip("\n").split(" ", 1)
    policy["digests"].setdefault(path, []).append(digest)

start = time.perf_counter()
_, failure = ima.process_measurement_list(
    None, lines, policy, sys.argv[3], hash_alg=Hash.SHA256
)
elapsed = time.perf_counter() - start
if failure:
    sys.exit(f"Keylime refuses the list: {[event.event_id for event in failure.events][:3]}")
entries = sum(1 for line in lines if line)
print(entries / elapsed)
