// A program with the broker inside: `TaplineExample FILE` serves FILE's configuration and adds handlers of its own.
// Inline ones run in the turn of the PUBLISH and must be quick; a decoupled one may take its time.
import Bounded
import Glibc
import LinuxIO
import MQTTBroker
import MQTTWire
import Tapline
import TaplineConfiguration
import Taps

/// `sensors/{room}/temperature` in °C: what is no number goes no further, and too warm a room says so on a topic
/// of its own.
func temperature(_ message: TapMessage, _ captures: Captures, _ server: Server) -> TapVerdict {
  guard let value = try? PlainDecimal(parsing: message.payload) else {
    return TapVerdict(reason: .payloadFormatInvalid, reasonString: Bytes("a temperature is a decimal number"))
  }
  if PlainDecimal(mantissa: 30, places: 0) < value, let room = captures["room"] {
    withUnsafeTemporaryAllocation(byteCount: 512, alignment: 1) { memory in
      var topic = ByteWriter(memory)
      topic.write("alarms/")
      topic.write(room)
      if !topic.overflowed { _ = server.publish(topic: topic.written, payload: message.payload, retain: true) }
    }
  }
  return .accept
}

/// A client inside this program: it speaks on one end of a pair of sockets, the server on the other. What it says lies in
/// the kernel until the server runs.
func sayThatItHasStarted(_ server: Server) {
  guard let (near, far) = try? Transport.pair() else { return }
  guard server.serve(connection: near) else { return Transport.close(far) }
  withUnsafeTemporaryAllocation(byteCount: 512, alignment: 1) { memory in
    var writer = ByteWriter(memory)
    Connect(version: .v5, clientID: Bytes("example"), cleanStart: true, keepAliveSeconds: 0)
      .encode(into: &writer)
    Publish(topic: Bytes("example/started"), payload: Bytes("yes"), retain: true).encode(into: &writer, version: .v5)
    Disconnect().encode(into: &writer, version: .v5)
    _ = Transport.write(far, writer.written)
  }
  Transport.close(far)
}

func text(_ text: Text) {
  text.bytes.withUnsafeBytes { _ = write(2, $0.baseAddress, $0.count) }
  _ = write(2, "\n", 1)
}

func run() -> Int32 {
  guard CommandLine.argc == 2 else {
    text(Text("usage: TaplineExample FILE"))
    return 64
  }
  let configuration: Configuration
  do throws(ConfigurationErrors) {
    configuration = try Configuration(file: Array(CommandLine.arguments[1].utf8))
  } catch {
    text(error.text)
    return 78
  }
  do throws(Server.StartError) {
    let server = try Server(configuration)
    try server.onMessage("sensors/{room}/temperature") { message, captures in
      temperature(message, captures, server)
    }
    // Messages below `private/` are not retained, whatever the publisher wants, and live for a minute.
    try server.onMessage("private/#") { _, _ in TapVerdict(retain: false, expirySeconds: 60) }
    // A handler that takes too long is set aside for a minute after ten times.
    try server.onMessage("slow/handler") { _, _ in
      usleep(5000)
      return .accept
    }
    // On a thread of its own this may take as long as it likes; messages wait in a queue of `limits: tap_queue`.
    try server.onMessageDecoupled("journal/{level}") { _, payload, captures in
      usleep(20_000)
      guard let level = captures["level"] else { return }
      var line = Text("journal ")
      line.add(level)
      line.add(": ")
      line.add(payload)
      text(line)
    }
    sayThatItHasStarted(server)
    return server.run()
  } catch {
    text(error.text)
    return 70
  }
}

exit(run())
