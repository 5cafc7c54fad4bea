#!/usr/bin/env bash
# Install the wheel of packages/ with extras: install.sh EXTRA[,EXTRA...]
# Every other package must be in requirements.lock, by version and hash; any other is refused.
set -euo pipefail
packages="${PACKAGES:-/tmp/packages}"
lock="${LOCK:-/tmp/requirements.lock}"
wheel="$(echo "$packages"/wearalike-@VERSION@-*.whl)"
[ -f "$wheel" ] || { echo "no wheel of wearalike @VERSION@ in packages/; from a checkout: uv build --wheel --out-dir packages <checkout>"; exit 1; }
read -r hash _ < <(sha256sum "$wheel")
case ",$1," in
*,yolo,*) echo "installing Ultralytics, whose licence is AGPL-3.0: https://www.gnu.org/licenses/agpl-3.0.html" ;;
esac
wanted="$(mktemp)"
echo "wearalike[$1] @ file://$wheel --hash=sha256:$hash" > "$wanted"
uv pip install ${UV_TARGET:---system} --no-cache --require-hashes -r "$wanted" -c "$lock"
