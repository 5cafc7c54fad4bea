#!/usr/bin/env bash
# Install the wheel of packages/ with extras: install.sh EXTRA[,EXTRA...]
# Every other package must be in requirements.lock, by version and hash; any other is refused.
# Where torch.lock names PyTorch, it goes before requirements.lock.
set -euo pipefail
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
packages="${PACKAGES:-/tmp/packages}"
lock="${LOCK:-/tmp/requirements.lock}"
wheel="$(echo "$packages"/wearalike-@VERSION@-*.whl)"
[ -f "$wheel" ] || { echo "no wheel of wearalike @VERSION@ in packages/; from a checkout: uv build --wheel --out-dir packages <checkout>"; exit 1; }
read -r hash _ < <(sha256sum "$wheel")
case ",$1," in
*,yolo,*) echo "installing Ultralytics, whose licence is AGPL-3.0: https://www.gnu.org/licenses/agpl-3.0.html" ;;
esac
case ",$1," in
*,yolo,* | *,evaluation,*)
    # OpenCV, which both bring, is linked against these. They weigh 340 MB, so the other images go without.
    apt-get update
    apt-get install -y --no-install-recommends libgl1 libglib2.0-0
    rm -rf /var/lib/apt/lists/*
    ;;
esac
torch_lock="${TORCH_LOCK:-/tmp/torch.lock}"
if grep -q '^torch==' "$torch_lock"; then
    # PyTorch's index has the build for CPUs, and nothing else is taken from there. What requires torch finds it installed.
    index="$(sed -n 's/^--index-url //p' "$torch_lock")"
    uv pip install ${UV_TARGET:---system} --no-cache --no-deps --require-hashes --index-url "$index" -r "$torch_lock"
    awk '/^torch(vision)?==/ {skip = 1; next} /^[^ ]/ {skip = 0} !skip' "$lock" > "$scratch/merged.lock"
    grep -v '^--' "$torch_lock" >> "$scratch/merged.lock"
    lock="$scratch/merged.lock"
fi
echo "wearalike[$1] @ file://$wheel --hash=sha256:$hash" > "$scratch/wanted.txt"
uv pip install ${UV_TARGET:---system} --no-cache --require-hashes -r "$scratch/wanted.txt" -c "$lock"
packages="$(uv pip show ${UV_TARGET:---system} torch | sed -n 's/^Location: //p')"
# PyTorch's own tests, and headers for extensions of it: 190 MB that no run reads.
rm -rf "$packages/torch/test" "$packages/torch/include" "$packages"/torch/bin/test_*
# Two builds of PyTorch's that do not fit install all the same; the first photo would tell.
PYTHONPATH="$packages" python -c "import torchvision" \
    || { echo "torchvision cannot be imported: it and torch must be of one build; see torch.lock and requirements.lock"; exit 1; }
