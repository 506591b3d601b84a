import LinuxIO
import TaplineConfiguration

/// What the configuration says of the listeners that are open, by their places in `Streams`. A reload makes another table; none
/// is ever changed.
final class ListenerTable: Sendable {
  struct Row: Sendable {
    var settings: ListenerSettings
    /// Of the TLS files; 0 without TLS.
    var digest: UInt64 = 0
  }

  /// nil: there is no listener in this place.
  let rows: [Row?]
  /// For `StreamLayers`. What stands in a place without a listener means nothing.
  let layers: [LayerSettings]

  init(_ rows: [Row?]) {
    var rows = rows
    while let last = rows.last, last == nil { rows.removeLast() }
    var layers: [LayerSettings] = []
    for row in rows { layers.append(row?.settings.layers ?? LayerSettings()) }
    self.rows = rows
    self.layers = layers
  }

  /// What the listener in this place, which is open, was opened with.
  subscript(place: Int) -> ListenerSettings { rows[place]!.settings }

  /// The listener on the same address, or the same socket file.
  func place(ofSameEndpoint settings: ListenerSettings) -> Int? {
    rows.firstIndex { $0?.settings.isSameEndpoint(as: settings) ?? false }
  }

  /// A listener that keeps the kernel from opening this one, though it is not the same.
  func overlapping(_ settings: ListenerSettings) -> ListenerSettings? {
    for row in rows {
      if let row, row.settings.isSamePlace(as: settings), !row.settings.isSameEndpoint(as: settings) {
        return row.settings
      }
    }
    return nil
  }
}

extension ListenerSettings {
  /// Whether a socket that was opened for the one serves for the other.
  func isSameEndpoint(as other: ListenerSettings) -> Bool {
    switch (endpoint, other.endpoint) {
    case (.tcp(let address, let port), .tcp(let otherAddress, let otherPort)):
      return port == otherPort && address.lend { IPAddress($0) } == otherAddress.lend { IPAddress($0) }
    case (.unix(let path, _), .unix(let otherPath, _)), (.serial(let path, _), .serial(let otherPath, _)):
      return path == otherPath
    case (.tcp, _), (.unix, _), (.serial, _):
      return false
    }
  }

  /// `127.0.0.1:1883`, `[::1]:1883` or the path.
  func describe(into text: inout Text) {
    switch endpoint {
    case .tcp(let address, let port):
      let isV6 = address.contains(UInt8(ascii: ":"))
      if isV6 { text.add("[") }
      text.add(address)
      text.add(isV6 ? "]:" : ":")
      text.add(Int(port))
    case .unix(let path, _), .serial(let path, _):
      text.add(path)
    }
  }
}
