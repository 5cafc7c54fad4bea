#!/usr/bin/env bash
# Fill torch.lock with PyTorch's build for CPUs, by version and hashes: the images then have nothing of NVIDIA's.
#   lock-torch.sh [INDEX]     INDEX is PyTorch's own by default. It needs uv: pip install uv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
index="${1:-https://download.pytorch.org/whl/cpu}"
locked="$(mktemp)"
sed -nE 's/^(torch|torchvision)==([^ +]+).*/\1==\2+cpu/p' requirements.lock \
    | uv pip compile --quiet --no-header --no-annotate --no-deps --generate-hashes --python-version 3.11 \
        --emit-index-url --index-url "$index" --output-file "$locked" -
[ "$(grep -c -- '--hash=' "$locked")" -ge 2 ] || { echo "$index gives no hashes; torch.lock stays as it is" >&2; exit 1; }
cat "$locked" > torch.lock
echo "torch.lock: $(sed -nE 's/^(torch[a-z]*==[^ ]+).*/\1/p' torch.lock | xargs); build the images again"
