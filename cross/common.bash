# What the scripts of cross/ share. Sourced, not run; leaves the shell in the top of the repository.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=cross/$(basename "$0")

swift_version_min=6.3

say() { echo "$program: $*"; }

# fail WHAT [REMEDY...]: one line each, exit status 1.
fail() {
  say "$1" >&2
  shift
  [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
  exit 1
}

# needs GROUP KIND: the names of that group and kind in cross/needs.txt, one a line.
needs() {
  sed 's/#.*//' cross/needs.txt | awk -v group="$1" -v kind="$2" '$1 == group && $2 == kind { print $3 }'
}

require_swift() {
  local remedy=("install it as swift.org/install/linux says (swiftly install $swift_version_min), and put it in PATH")
  command -v swiftc >/dev/null || fail "Swift $swift_version_min or newer is needed and swiftc is not in PATH" "${remedy[@]}"
  local version
  version=$(swiftc --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9.]*\).*/\1/p' | head -n 1)
  printf '%s\n' "$swift_version_min" "$version" | sort --check=quiet --version-sort ||
    fail "Swift $swift_version_min or newer is needed, $(command -v swiftc) is ${version:-of an unknown version}" "${remedy[@]}"
}

# The toolchain's usr/lib/swift, also where swiftc in PATH is a launcher.
toolchain_resources() {
  swiftc -print-target-info | sed -n 's/.*"runtimeResourcePath": "\(.*\)".*/\1/p'
}

# toolchain_tool NAME: the path of a tool beside the compiler.
toolchain_tool() {
  echo "$(realpath "$(toolchain_resources)/../../bin")/$1"
}
