# What the scripts here share: a tree of logs and reports, steps that are counted, and the judgement. Sourced, not run;
# the caller sets `program` afterwards as it likes. Needs `work`, the directory below .build, to be set by `begin`.

source "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.bash"
program=Tests/Sanitizers/$(basename "$0")

passed=0

# What a sanitizer writes when it finds something, and what Swift writes when it stops.
found='WARNING: ThreadSanitizer|ERROR: (Address|Leak|Undefined|Thread)\w*Sanitizer|: runtime error: |Fatal error: '

# usage_and_exit STATUS: the comment at the head of the script.
usage_and_exit() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
  exit "$1"
}

# begin DIRECTORY: where logs and reports go; those of the last run are forgotten.
begin() {
  require_swift
  work=$PWD/$1
  mkdir -p "$work"
  rm -rf "$work/log" "$work/reports"
  mkdir -p "$work/log" "$work/reports"
  [ -x .build/venv/bin/pytest ] || fail "there are no clients in .build/venv" "cross/install-needs test"
}

# step NAME COMMAND...: runs it into a log of its own, and ends the run where it fails or a sanitizer has reported.
step() {
  local name=$1 log status=0 line
  log=$work/log/${1// /-}.log
  shift
  SECONDS=0
  "$@" </dev/null >"$log" 2>&1 || status=$?
  judge "$name" "$log"
  if [ $status -ne 0 ]; then
    tail -n 60 "$log"
    fail "$name: exit status $status" "see $log"
  fi
  # Swift Testing: "Test run with 7 tests in 1 suite passed", pytest: "7 passed, 2 skipped in 3.21s".
  line=$(sed -E 's/\x1b\[[0-9;]*m//g' "$log" | grep -aE 'Test run with .* passed|^=* *[0-9]+ passed' | tail -n 1 || true)
  line=$(sed -E 's/^[^[:alnum:]]+//; s/[ =]+$//' <<<"$line")
  if [ -n "$line" ]; then
    count=$(grep -oE '^[0-9]+ passed|with [0-9]+ test' <<<"$line" | grep -oE '[0-9]+')
    passed=$((passed + count))
  fi
  say "$name, $SECONDS s${line:+: $line}"
}

# judge NAME LOG: no report of a sanitizer, neither in a file of its own nor in the log.
judge() {
  local reports
  reports=$(find "$work/reports" -type f -size +0)
  if [ -n "$reports" ]; then
    # shellcheck disable=SC2086
    head -n 60 $reports
    fail "$1: a sanitizer has found something" "$(wc -l <<<"$reports") reports in $work/reports"
  fi
  if grep -aqE "$found" "$2"; then
    grep -anE -A 25 "$found" "$2" | head -n 60
    fail "$1: a sanitizer has found something" "see $2"
  fi
}

# clients BINARY PYTEST-ARGUMENTS...: tests of Tests/integration against a daemon that is slower than the shipped one, so
# with the counts for an emulated one. Tests of memory are left out: the sanitizer's own is in it.
clients() {
  local binary=$1
  shift
  TAPLINE_RUNNER=env .build/venv/bin/pytest -q -p no:cacheprovider -n 4 --ignore Tests/integration/test_allocations.py \
    --ignore Tests/integration/test_memory.py --deselect Tests/integration/test_log.py::test_memory_that_is_not_there \
    --tapline "$binary" "$@"
}

end() { echo "$passed passed, 0 failed"; }
