import Bounded
import LinuxIO
import TaplineConfiguration
import Taps

// What the configuration says of a line, in the kernel's terms. For the daemon, and for who makes its outputs safe.

extension OutputSettings {
  /// An output without its level.
  var lineSettings: LineSettings {
    var settings = LineSettings(direction: .output)
    settings.activeLow = active == .low
    switch drive {
    case .pushPull: settings.drive = .pushPull
    case .openDrain: settings.drive = .openDrain
    case .openSource: settings.drive = .openSource
    }
    return settings
  }
}

extension Lines {
  func find(_ pin: Taps.LineAddress) throws(LineError) -> LinuxIO.LineAddress {
    // A typed throw does not pass through a closure that lends.
    let result: Result<LinuxIO.LineAddress, LineError> = pin.line.lend { name in
      pin.chip.lend { chip in
        let number = Values.integer(pin.line)
        let selector = number.map { LineSelector.number($0) } ?? .name(name)
        do throws(LineError) {
          return .success(try find(selector, chip: chip.isEmpty ? nil : chip))
        } catch {
          return .failure(error)
        }
      }
    }
    return try result.get()
  }
}

extension LineRequest {
  static func open(
    _ address: LinuxIO.LineAddress, _ settings: LineSettings, consumer: FixedText<80>
  ) throws(LineError) -> LineRequest {
    let result: Result<LineRequest, LineError> = consumer.withBytes { consumer in
      do throws(LineError) {
        return .success(try LineRequest.open(address, settings, consumer: consumer))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }
}

extension LineError {
  /// `line GPIO17 busy: held by spi0 CS0`, with the likely remedy where there is one.
  func write(of pin: Taps.LineAddress, into text: inout ByteWriter) {
    text.write("line ")
    pin.line.lend { text.write($0) }
    switch reason {
    case .busy:
      text.write(" busy: held by ")
      if consumer.isEmpty { text.write("an unnamed consumer") } else { consumer.write(to: &text) }
      if let hint = consumer.withBytes({ LineHint.of(consumer: $0) }) {
        text.write(" (")
        text.write(hint)
        text.write(")")
      }
    case .notFound:
      text.write(" not found; see tapline lines")
    case .noChip:
      text.write(": no such GPIO chip")
      if !pin.chip.isEmpty {
        text.write(" ")
        pin.chip.lend { text.write($0) }
      }
    case .ambiguous:
      text.write(" is on several chips; give chip too")
    case .denied:
      text.write(": permission denied; is the user in group gpio?")
    case .failed:
      text.write(": ")
      text.write(error.text)
    }
  }
}
