import Bounded
import MQTTWire

// Why a command is refused, in words that fit a Reason String.
extension TapTable {
  func refuse(_ index: Int, _ error: OutputCommandError) -> OutputAction {
    outputs[index].refusedCount &+= 1
    switch error {
    case .notUnderstood(let text):
      return .refuse(.payloadFormatInvalid, Bytes(text))
    case .unknownKey(let key):
      var text = refusalText
      _ = text.replace(Bytes("unknown key "), key.prefix(most: 64))
      return .refuse(.payloadFormatInvalid, text.bytes)
    }
  }

  func refuse(_ index: Int, _ reason: Bytes) -> OutputAction {
    outputs[index].refusedCount &+= 1
    return .refuse(.implementationSpecificError, reason)
  }

  /// `min_off: 44 s left`.
  func refuse(_ index: Int, _ lead: StaticString, _ nanosecondsLeft: Int64) -> OutputAction {
    refuse(index) { writer in
      writer.write(lead)
      DurationText.write(nanoseconds: nanosecondsLeft, into: &writer)
      writer.write(" left")
    }
  }

  /// `interlock: shutter_down is on`.
  func refuse(_ index: Int, _ lead: StaticString, _ rival: Int, _ end: StaticString) -> OutputAction {
    refuse(index) { writer in
      writer.write(lead)
      writer.write(name(ofOutput: rival))
      writer.write(end)
    }
  }

  /// `interlock: shutter_down min_on: 3 s left`.
  func refuse(
    _ index: Int, _ lead: StaticString, _ rival: Int, _ middle: StaticString, _ nanosecondsLeft: Int64
  ) -> OutputAction {
    refuse(index) { writer in
      writer.write(lead)
      writer.write(name(ofOutput: rival))
      writer.write(middle)
      DurationText.write(nanoseconds: nanosecondsLeft, into: &writer)
      writer.write(" left")
    }
  }

  private func refuse(_ index: Int, _ write: (inout ByteWriter) -> Void) -> OutputAction {
    var text = refusalText
    text.write(write)
    return refuse(index, text.bytes)
  }

  private func name(ofOutput index: Int) -> Bytes { outputs[index].stateTopic.from(settings.base.count + 1) }

  private var refusalText: TextBuffer { TextBuffer(outputRoom.text, capacity: OutputRoom.textBytesMax) }
}
