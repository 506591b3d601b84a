import Bounded
import LinuxIO
import MQTTBroker
import TLS
import TaplineConfiguration
import Taps

/// Where clients come in: the listeners of the configuration, opened here or passed by the service manager.
extension Server {
  func openListeners() throws(StartError) {
    if let raised = try? Process.raiseDescriptorLimit(to: configuration.limits.connectionsMax + taps.lineCount + 64),
      raised < configuration.limits.connectionsMax + taps.lineCount + 32
    {
      log.write(.warning, .server, "tapline: the limit of open files is below limits: connections; see ulimit -n")
    }
    var report = FileReport(file: configuration.file)
    var rows = listeners.rows
    var made: [MadeContext] = []
    let library = try Server.hasTLS(configuration.listeners) ? Server.loadTLS(loop.arena) : nil
    for (place, row) in listeners.rows.enumerated() {
      guard let library, let settings = row?.settings.layers.tls, let files = TLSFiles(settings, &report) else {
        continue
      }
      rows[place]?.digest = files.digest
      if let context = files.context(library, &report) { made.append(MadeContext(place: place, context: context)) }
    }
    tell(report.warnings, .warning, "tapline: ")
    if let error = StartError(report) { throw error }
    listeners = ListenerTable(rows)
    if let library {
      loop.service = try TLSService(
        library, made, listenerCount: Server.tlsCount(configuration.listeners), loop.handshakes, log: log)
    }
    var opening = ListenerOpening(deadPeerSeconds: configuration.loopLimits.deadPeerSeconds)
    for (place, row) in rows.enumerated() {
      guard let row else { continue }
      let listener: Listener
      do throws(ListenerOpening.Refusal) {
        listener = try opening.open(row.settings).get()
      } catch {
        var text = error.text
        text.add("; see listeners in ")
        text.add(configuration.file)
        throw StartError(text: text)
      }
      guard streams.listen(listener, at: place) else {
        throw StartError(text: Text("a listener cannot be polled"))  // ENOMEM, or max_user_watches
      }
    }
    while let fd = opening.passedConnection() { _ = serve(connection: fd) }
    if opening.leftCount > 0 {
      log.write(
        .warning, .server,
        "tapline: the socket unit passes a socket that no listener in the configuration names; ignoring it")
    }
    reload.desk.listeners = ListenerDesk(configuration, listeners, opening, library)
  }

  /// Takes no more connections, and removes the socket files that are ours.
  func closeListeners() {
    for (place, row) in listeners.rows.enumerated() {
      guard let row else { continue }
      removeSocketFile(row.settings, of: streams.listener(at: place))
      streams.stopListening(at: place)?.close()
    }
  }

  func removeSocketFile(_ settings: ListenerSettings, of listener: Listener?) {
    guard case .unix(let path, _) = settings.endpoint else { return }
    path.lend { listener?.removeFile(at: $0) }
  }
}

extension Server.StartError {
  /// nil: nothing is wrong.
  init?(_ report: FileReport) {
    guard let first = report.problems.first else { return nil }
    text = first
    more = [Text](report.problems.dropFirst())
    isConfiguration = true
  }
}
