# One build for asan and coverage: AddressSanitizer, UndefinedBehaviorSanitizer for C, and counters of lines. Sourced
# after `begin` or in place of it.

instrumented=$PWD/.build/asan
# Optimised: else the tests of the broker take minutes each. What counts lines is put in before the optimiser runs.
build=(--configuration release -Xswiftc -enable-testing --sanitize=address --enable-code-coverage
  --scratch-path "$instrumented"
  -Xcc -fsanitize=undefined -Xcc -fno-sanitize-recover=undefined
  -Xcc -fprofile-instr-generate -Xcc -fcoverage-mapping)
tests=$instrumented/release/taplinePackageTests.xctest
tapline=$instrumented/release/tapline
export TAPLINE_EXAMPLE=$instrumented/release/TaplineExample

# Counters of the daemons; `swift test` keeps those of the units, merged.
profiles=$instrumented/profiles
units_profile=$instrumented/release/codecov/default.profdata

export ASAN_OPTIONS=detect_leaks=0:exitcode=66${work:+:log_path=$work/reports/memory}
export UBSAN_OPTIONS=print_stacktrace=1

short_clients=(Tests/integration/test_{abuse,sensors,state,levels,threads,example}.py)

unit_tests() { swift test "${build[@]}" --skip-build; }

# Of the last run; a file for each daemon: one that is killed while it adds to a file of many spoils that file.
real_clients() {
  rm -rf "$profiles"
  LLVM_PROFILE_FILE=$profiles/%p.profraw clients "$tapline" "$@"
}
