import CFuzz
import Glibc

// fuzz seeds DIR REPOSITORY      writes the seeds of every target to DIR/TARGET, and dictionaries
// fuzz TARGET [libFuzzer's arguments]

let name = CommandLine.arguments.dropFirst().first ?? ""
if name == "seeds", CommandLine.arguments.count == 4 {
  writeSeeds(to: CommandLine.arguments[2], repository: CommandLine.arguments[3])
  exit(0)
}
let argc = CommandLine.argc - 1
let argv = CommandLine.unsafeArgv + 1
switch name {
case "framer": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzFramer, bytes, count) })
case "decoders": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzDecoders, bytes, count) })
case "topics": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzTopics, bytes, count) })
case "broker": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzBroker, bytes, count) })
case "websocket": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzWebSocket, bytes, count) })
case "upgrade": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzUpgrade, bytes, count) })
case "proxy": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzProxy, bytes, count) })
case "configuration": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzConfiguration, bytes, count) })
case "access": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzAccess, bytes, count) })
case "passwords": exit(cfuzz_run(argc, argv) { bytes, count in run(fuzzPasswords, bytes, count) })
default:
  print("usage: fuzz framer|decoders|topics|broker|websocket|upgrade|proxy|configuration|access|passwords")
  print("       and libFuzzer's arguments")
  exit(64)
}
